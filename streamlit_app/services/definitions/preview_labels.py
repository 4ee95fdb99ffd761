"""Previews of label models and of the derived indexes that choose entities by their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from streamlit_app.services.app import App
from streamlit_app.services.definitions.current_votes import current_votes
from streamlit_app.services.definitions.edit import Edit
from streamlit_app.services.definitions.preview import current_versions, planned, version_of
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import DerivedIndex, LabelModel
from tippers_dagster.catalog.model import Ref
from tippers_dagster.labelling.analysis import Analysis, analyse, find_patterns
from tippers_dagster.labelling.gold import gold_numbers
from tippers_dagster.platform.warehouse.engine import read_arrow
from tippers_dagster.settings import Settings
from tippers_dagster.sql.compose import quoted
from tippers_dagster.sql.names import ref_place


# --- label models --------------------------------------------------------------------------------
@dataclass(frozen=True)
class FunctionAnalysis:
    """The votes of a label model's functions taken together, before it is trained.

    ``uncomputed`` names functions without votes.
    """

    analysis: Analysis
    uncomputed: tuple[str, ...]


def preview_model(app: App, catalog: Catalog, edit: Edit) -> FunctionAnalysis:
    """Coverage, overlaps and conflicts of the chosen functions, from their current votes.

    Raises
    ------
    TippersError
        Why there is no preview.
    """
    made, after = planned(catalog, edit)
    assert isinstance(made.body, LabelModel)
    current = current_votes(app.settings, after, made.ref, current_versions(app.settings))
    chosen = [after.resolve(n, made.ref.concept).ref for n in made.body.labelling_functions]
    computed = [ref for ref in chosen if ref in current.functions]
    matrix = current.votes[:, [current.functions.index(ref) for ref in computed]]
    values = after.labels(made.ref.concept)
    gold = gold_numbers(app.settings, made.ref.concept, current.keys, values)
    analysis = analyse(find_patterns(matrix), [ref.name for ref in computed], values, gold=gold)
    return FunctionAnalysis(analysis, tuple(ref.name for ref in chosen if ref not in computed))


# --- derived indexes -----------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class LabelGroups:
    """The entities of a parent index, grouped by the label and confidence of a label model.

    Each group has a ``label`` (empty without one), a ``confidence`` (NaN without a label) and a
    number of ``entities``.
    """

    label: np.ndarray
    confidence: np.ndarray
    entities: np.ndarray

    @property
    def total(self) -> int:
        """Entities of the parent index."""
        return int(self.entities.sum())

    def count(
        self, labels: Sequence[str], minimum: float | None, *, include_unlabelled: bool
    ) -> int:
        """Entities that a derived index would have."""
        if not labels and minimum is None:
            return self.total
        labelled = self.label != ""
        passing = labelled.copy()
        if labels:
            passing &= np.isin(self.label, list(labels))
        if minimum is not None:
            passing &= np.nan_to_num(self.confidence, nan=-1.0) >= minimum
        if include_unlabelled:
            passing |= ~labelled
        return int(self.entities[passing].sum())

    def curve(
        self, labels: Sequence[str], *, include_unlabelled: bool, steps: int = 50
    ) -> list[tuple[float, int]]:
        """Minimum confidences from 0 to 1, each with the entities that would pass."""
        minima = [round(at / steps, 4) for at in range(steps + 1)]
        return [
            (minimum, self.count(labels, minimum, include_unlabelled=include_unlabelled))
            for minimum in minima
        ]


def preview_derived_index(app: App, catalog: Catalog, edit: Edit) -> LabelGroups:
    """The entities that a derived index chooses from; one query, cached by version.

    Raises
    ------
    TippersError
        Why there is no preview; also if its parent or label model has never been computed.
    """
    made, after = planned(catalog, edit)
    assert isinstance(made.body, DerivedIndex)
    parent = after.resolve(made.body.parent, made.ref.concept).ref
    model = after.resolve(made.body.label_model, made.ref.concept).ref
    versions = current_versions(app.settings)
    used = (version_of(versions, parent), version_of(versions, model))
    return _label_groups(app.settings, parent, model, after.key_column(made.ref), used)


@lru_cache(maxsize=16)
def _label_groups(
    settings: Settings, parent: Ref, model: Ref, key: str, versions: tuple[str, str]
) -> LabelGroups:
    """``versions`` only separates old results in the cache from new ones."""
    entities, labels = ref_place(parent), ref_place(model)
    found = read_arrow(
        settings,
        "SELECT coalesce(answer.label, '') AS label, answer.confidence, count(*) AS entities "
        f"FROM {quoted(entities.schema)}.{quoted(entities.table)} AS parent "
        f"LEFT JOIN {quoted(labels.schema)}.{quoted(labels.table)} AS answer "
        f"USING ({quoted(key)}) GROUP BY 1, 2",
    )
    return LabelGroups(
        np.array(found["label"].to_pylist(), dtype=str),
        found["confidence"].to_numpy().astype(float),
        found["entities"].to_numpy(),
    )
