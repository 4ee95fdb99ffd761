"""Checks that a definition fits the definitions that it uses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from tippers_dagster.catalog.kinds import (
    CLASSIFIER_MODELS,
    Body,
    Classifier,
    Concept,
    ConceptValue,
    Connection,
    DerivedIndex,
    Forecaster,
    Kind,
    LabelledOccupancy,
    LabellingFunction,
    LabelModel,
    PeopleCount,
)
from tippers_dagster.catalog.lookup import CannotWork, Lookup
from tippers_dagster.catalog.model import Definition, Ref, Unreadable
from tippers_dagster.catalog.refresh import check_cron, parse_refresh
from tippers_dagster.catalog.structure import TABLES, references
from tippers_dagster.errors import BadInput

DEVICE_KEY = "mac_address"
"""The key column of indexes of devices."""

MIN_FUNCTIONS = 3
"""Snorkel's label model is not determined by fewer labelling functions."""

MIN_FORECAST_HISTORY_DAYS = 14
"""History before the first backtest: comparing weeks needs at least two."""


def check(catalog: Lookup, definition: Definition, *, sound_below: bool) -> None:
    """Raise ``CannotWork`` for the first fault of the definition itself.

    Parameters
    ----------
    sound_below
        Whether everything that it reads can work; it is compared with these only then.
    """
    ref, body = definition.ref, definition.body
    if isinstance(body, Unreadable):
        raise CannotWork(body.reason)
    if ref.concept:
        catalog.concept(ref.concept)
    for reference, kinds in references(definition):
        catalog.need(reference, ref.concept, kinds)
    for reference in definition.reads:
        catalog.need(reference, ref.concept, TABLES)
    own = _CHECKS.get(ref.kind)
    if own and sound_below:
        own(catalog, definition, body)


def _check_concept(catalog: Lookup, definition: Definition, body: Body) -> None:
    assert isinstance(body, Concept)
    _refuse_duplicates((value.name for value in body.values), "label")
    by_name = {value.name: value for value in body.values}
    for value in body.values:
        if value.parent is not None and value.parent not in by_name:
            raise CannotWork(
                f"{value.name} refines {value.parent}, which is not a label of this concept."
            )
        if _above_itself(value, by_name):
            raise CannotWork(f"{value.name} refines itself.")
    _check_refresh(body.refresh)
    if body.refines is None:
        return
    concept, _, label = body.refines.partition(".")
    if label not in {value.name for value in catalog.concept(concept).values}:
        raise CannotWork(
            f"It refines {body.refines!r}: expected a concept and one of its labels, such as "
            "people.RESIDENT."
        )


def _check_refresh(text: str | None) -> None:
    if text is None:
        return
    try:
        check_cron(parse_refresh(text))
    except BadInput as error:
        raise CannotWork(error.message) from None


def _above_itself(value: ConceptValue, by_name: dict[str, ConceptValue]) -> bool:
    seen = {value.name}
    above = by_name.get(value.parent or "")
    while above is not None:
        if above.name in seen:
            return True
        seen.add(above.name)
        above = by_name.get(above.parent or "")
    return False


def _check_derived_index(catalog: Lookup, definition: Definition, body: Body) -> None:
    assert isinstance(body, DerivedIndex)
    concept = definition.ref.concept
    model = catalog.resolve(body.label_model, concept).ref
    _refuse_duplicates(body.labels, "label")
    _refuse_unknown_labels(body.labels, catalog.model_labels(model), f"of the label model {model}")
    index = catalog.index_of(model)
    above = list(_parents(catalog, catalog.resolve(body.parent, concept)))
    if index not in above:
        raise CannotWork(f"{model} labels the entities of {index}, not those of {above[0]}.")


def _parents(catalog: Lookup, index: Definition) -> Iterator[Ref]:
    """An index, its parent index, and so on."""
    yield index.ref
    if isinstance(index.body, DerivedIndex):
        yield from _parents(catalog, catalog.resolve(index.body.parent, index.ref.concept))


def _check_labelling_function(catalog: Lookup, definition: Definition, body: Body) -> None:
    assert isinstance(body, LabellingFunction)
    concept = definition.ref.concept
    _refuse_duplicates(body.labels, "label")
    _refuse_unknown_labels(body.labels, catalog.labels(concept), f"of the concept {concept}")
    _refuse_unknown_labels((c.label for c in body.conditions), body.labels, "in its list of labels")
    if body.function is not None and definition.origin != "git":
        raise CannotWork(
            "Imported Python functions are only possible in the project's files. Give conditions, "
            "or the function's text in `python`."
        )


def _check_label_model(catalog: Lookup, definition: Definition, body: Body) -> None:
    assert isinstance(body, LabelModel)
    ref = definition.ref
    functions = [catalog.resolve(name, ref.concept).ref for name in body.labelling_functions]
    _refuse_duplicates(map(str, functions), "labelling function")
    if len(functions) < MIN_FUNCTIONS:
        raise CannotWork(
            f"A label model needs {MIN_FUNCTIONS} labelling functions or more; "
            f"it has {len(functions)}."
        )
    index = catalog.resolve(body.index, ref.concept).ref
    for function in functions:
        if function.concept != ref.concept:
            raise CannotWork(f"{function} votes for labels of another concept, {function.concept}.")
        own_index = catalog.index_of(function)
        if own_index != index:
            raise CannotWork(
                f"The rule of {function} is about the entities of {own_index}, but this label "
                f"model is about those of {index}."
            )
    _check_model_labels(catalog, ref, body, functions)


def _check_model_labels(catalog: Lookup, ref: Ref, body: LabelModel, functions: list[Ref]) -> None:
    _refuse_duplicates(body.labels, "label")
    _refuse_unknown_labels(
        body.labels, catalog.labels(ref.concept), f"of the concept {ref.concept}"
    )
    labels = catalog.model_labels(ref)
    votes = {function: catalog.definitions[function].body for function in functions}
    voted: set[str] = set()
    for function, found in votes.items():
        assert isinstance(found, LabellingFunction)
        _refuse_unknown_labels(
            found.labels, labels, f"of this label model, and {function} may vote for it"
        )
        voted.update(found.labels)
    silent = [label for label in labels if label not in voted]
    if silent:
        raise CannotWork(f"No labelling function votes for {', '.join(silent)}.")
    if len(labels) < 2:
        raise CannotWork(
            f"All its labelling functions vote for {labels[0]}; two labels are needed."
        )
    if isinstance(body.class_balance, dict):
        _check_balance(body.class_balance, labels)


def _check_balance(balance: dict[str, float], labels: tuple[str, ...]) -> None:
    if set(balance) != set(labels):
        raise CannotWork(f"The class balance needs a share for each label: {', '.join(labels)}.")
    if min(balance.values()) <= 0 or not math.isclose(sum(balance.values()), 1, abs_tol=1e-6):
        raise CannotWork("The shares of the class balance must be above 0 and add up to 1.")


def _check_classifier(catalog: Lookup, definition: Definition, body: Body) -> None:
    assert isinstance(body, Classifier)
    concept = definition.ref.concept
    _refuse_duplicates(body.models, "model")
    for name in body.models:
        if name not in CLASSIFIER_MODELS:
            raise CannotWork(
                f"There is no model {name}. The models: {', '.join(CLASSIFIER_MODELS)}."
            )
    model = catalog.resolve(body.label_model, concept).ref
    if model.concept != concept:
        raise CannotWork(f"{model} gives labels of another concept, {model.concept}.")
    index = catalog.resolve(body.index, concept)
    above = list(_parents(catalog, index))
    labelled = catalog.resolve(str(catalog.index_of(model)), concept)
    if labelled.ref not in above and index.ref not in _parents(catalog, labelled):
        raise CannotWork(
            f"The label model {model} labels the entities of {labelled.ref}, which do not "
            f"contain those of {index.ref}."
        )
    features = [catalog.resolve(name, concept).ref for name in body.features]
    _refuse_duplicates(map(str, features), "feature")
    for feature in features:
        own_index = catalog.index_of(feature)
        if own_index not in above:
            raise CannotWork(
                f"{feature} is about the entities of {own_index}, which do not contain those of "
                f"{index.ref}."
            )
        if model in _all_dependencies(catalog, feature, {own_index}):
            raise CannotWork(
                f"{feature} is computed from {model}, whose labels the classifier learns: it would "
                "give the answer away."
            )


def _all_dependencies(catalog: Lookup, ref: Ref, seen: set[Ref | None]) -> set[Ref | None]:
    """Everything that a definition reads, directly or indirectly; stops at those in ``seen``."""
    for dep in catalog.dependencies(ref):
        if dep not in seen:
            seen.add(dep)
            _all_dependencies(catalog, dep, seen)
    return seen


def _check_labelled_occupancy(catalog: Lookup, definition: Definition, body: Body) -> None:
    assert isinstance(body, LabelledOccupancy)
    labels = catalog.resolve(body.by, definition.ref.concept).ref
    key = catalog.key_column(labels)
    if key != DEVICE_KEY:
        raise CannotWork(f"{labels} does not label devices: its key is {key}, not {DEVICE_KEY}.")


def _check_people_count(catalog: Lookup, definition: Definition, body: Body) -> None:
    assert isinstance(body, PeopleCount)
    _refuse_duplicates(body.labels, "label")
    if body.by is None:
        if body.labels:
            raise CannotWork("It names labels but not the definition that gives them: set by too.")
        return
    if not body.labels:
        raise CannotWork(f"It names no label of {body.by}: which devices are counted?")
    labeller = catalog.resolve(body.by, "").ref
    if catalog.key_column(labeller) != DEVICE_KEY:
        raise CannotWork(
            f"{labeller} does not label devices: its key is {catalog.key_column(labeller)}."
        )
    _refuse_unknown_labels(body.labels, catalog.model_labels(labeller), f"of {body.by}")


def _check_connection(catalog: Lookup, definition: Definition, body: Body) -> None:
    assert isinstance(body, Connection)
    _refuse_duplicates((table.name for table in body.tables), "table")


def _check_forecaster(catalog: Lookup, definition: Definition, body: Body) -> None:
    assert isinstance(body, Forecaster)
    _refuse_duplicates(body.spaces, "space")
    _refuse_duplicates(body.models, "model")
    if body.history_days < body.horizon_days + MIN_FORECAST_HISTORY_DAYS:
        raise CannotWork(
            f"A backtest of {body.horizon_days} days needs a history of "
            f"{body.horizon_days + MIN_FORECAST_HISTORY_DAYS} days or more; history_days is "
            f"{body.history_days}."
        )


def _refuse_duplicates(names: Iterable[str], what: str) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise CannotWork(f"The {what} {twice[0]} is given twice.")


def _refuse_unknown_labels(labels: Iterable[str], known: Iterable[str], of: str) -> None:
    known = tuple(known)
    for label in labels:
        if label not in known:
            listed = ", ".join(known) or "none"
            raise CannotWork(f"{label} is not a label {of}. The labels: {listed}.")


_CHECKS: dict[Kind, Callable[[Lookup, Definition, Body], None]] = {
    Kind.CONCEPT: _check_concept,
    Kind.CONNECTION: _check_connection,
    Kind.DERIVED_INDEX: _check_derived_index,
    Kind.FORECASTER: _check_forecaster,
    Kind.LABELLED_OCCUPANCY: _check_labelled_occupancy,
    Kind.LABELLING_FUNCTION: _check_labelling_function,
    Kind.LABEL_MODEL: _check_label_model,
    Kind.PEOPLE_COUNT: _check_people_count,
    Kind.CLASSIFIER: _check_classifier,
}
