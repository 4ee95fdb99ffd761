"""The SQL of definitions, checked by the guard before it is saved, rendered or run."""

from __future__ import annotations

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Feature, Index, Kind, Rule
from tippers_dagster.catalog.model import Definition, Draft, Ref
from tippers_dagster.settings import Settings
from tippers_dagster.sql.names import NameTable
from tippers_dagster.sql.refusals import RefusedSQL
from tippers_dagster.sql.translate import Translated, translate

KINDS = (Kind.INDEX, Kind.RULE, Kind.FEATURE)


def translated(settings: Settings, definition: Definition | Draft, catalog: Catalog) -> Translated:
    """The checked SQL of an index, rule or feature, with the tables' names filled in.

    Parameters
    ----------
    catalog
        Where names are looked up.

    Raises
    ------
    BadInput
        The guard refuses it, a name is unknown, or the result lacks the key column.
    """
    return translate_definition(NameTable.of(catalog, settings), definition, catalog)


def translate_definition(
    names: NameTable, definition: Definition | Draft, catalog: Catalog
) -> Translated:
    """Like ``translated``, for many definitions: the tables' names are looked up only once."""
    body, concept = definition.body, definition.ref.concept
    assert isinstance(body, Index | Rule | Feature)
    index = None if isinstance(body, Index) else catalog.resolve(body.index, concept).ref
    key = body.key if isinstance(body, Index) else catalog.key_column(_not_none(index))
    found = translate(body.sql, concept=concept, index=index, key=key, names=names)
    if found.columns is not None and key not in found.columns:
        raise RefusedSQL(
            "key",
            f"The result has no column {key}, the key of the index.",
            f"Add {key} to the SELECT (and to GROUP BY).",
        )
    return found


def _not_none(ref: Ref | None) -> Ref:
    assert ref is not None
    return ref


def references(settings: Settings, definition: Definition | Draft, catalog: Catalog) -> set[Ref]:
    """The definitions whose tables the SQL of an index, rule or feature reads."""
    return set(translated(settings, definition, catalog).refs)
