"""Whether a definition that is SQL may be saved, rendered or run."""

from __future__ import annotations

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Feature, Index, Kind, Rule
from tippers_dagster.catalog.model import Definition, Draft, Ref
from tippers_dagster.catalog.validate import Checks
from tippers_dagster.settings import Settings
from tippers_dagster.sql.names import NameTable
from tippers_dagster.sql.preview import Column, NotComputedYet, validate_query
from tippers_dagster.sql.refused import RefusedSQL
from tippers_dagster.sql.translate import Translated, translate

KINDS = (Kind.INDEX, Kind.RULE, Kind.FEATURE)


def translated(settings: Settings, definition: Definition | Draft, catalog: Catalog) -> Translated:
    """The SQL of an index, rule or feature, checked, with the tables' names in it.

    Parameters
    ----------
    catalog
        In which the names are looked up.

    Raises
    ------
    BadInput
        What the guard refuses, unknown names, a result without the key column.
    """
    return translated_among(NameTable.of(catalog, settings), definition, catalog)


def translated_among(
    names: NameTable, definition: Definition | Draft, catalog: Catalog
) -> Translated:
    """As ``translated``, for many definitions: the tables' names are looked up once for all."""
    body, concept = definition.body, definition.ref.concept
    assert isinstance(body, Index | Rule | Feature)
    index = None if isinstance(body, Index) else catalog.resolve(body.index, concept).ref
    key = body.key if isinstance(body, Index) else catalog.key_column(_there(index))
    found = translate(body.sql, concept=concept, index=index, key=key, names=names)
    if found.columns is not None and key not in found.columns:
        raise RefusedSQL(
            "key",
            f"The result has no column {key}, which tells whose row it is.",
            f"Add {key} to the SELECT (and to GROUP BY).",
        )
    return found


def _there(ref: Ref | None) -> Ref:
    assert ref is not None
    return ref


def check_definition(
    settings: Settings, definition: Definition | Draft, catalog: Catalog, *, deep: bool = True
) -> list[Column] | None:
    """Refuse an index, rule or feature whose SQL is not safe or does not work.

    Parameters
    ----------
    deep
        Whether the database is asked, too: do its columns exist, which does it give?

    Returns
    -------
    list[Column] or None
        The columns of the result; none when the database was not asked, or could not tell
        because something that is read has not been computed yet.

    Raises
    ------
    BadInput
        In words for the author, with line and column where they are known.
    """
    found = translated(settings, definition, catalog)
    if not deep:
        return None
    body = definition.body
    key = body.key if isinstance(body, Index) else None
    if isinstance(body, Rule | Feature):
        key = catalog.key_column(catalog.resolve(body.index, definition.ref.concept).ref)
    try:
        return validate_query(settings, found, key)
    except NotComputedYet:
        return None


def references(settings: Settings, definition: Definition | Draft, catalog: Catalog) -> set[Ref]:
    """The definitions whose tables the SQL of an index, rule or feature reads."""
    return set(translated(settings, definition, catalog).refs)


def sql_checks(settings: Settings, *, deep: bool = True) -> Checks:
    """What the catalog calls for drafts that are SQL before they are saved."""

    def validator(draft: Draft, catalog: Catalog) -> None:
        check_definition(settings, draft, catalog, deep=deep)

    def read(draft: Draft, catalog: Catalog) -> list[str]:
        return [str(ref) for ref in references(settings, draft, catalog)]

    return Checks(validators=dict.fromkeys(KINDS, validator), references=dict.fromkeys(KINDS, read))
