"""A definition being edited: how it starts, and the draft that its form makes.

A form holds whatever was typed, valid or not. Only ``draft`` checks that it can be a definition.
"""

from __future__ import annotations

import itertools
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from streamlit_app.services.definitions.choices import find, written_name
from streamlit_app.services.definitions.fields import body_values, fields_of, new_fields
from tippers_dagster.catalog.catalog import Catalog, draft_of
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Definition, Draft, Ref, Status, Unreadable
from tippers_dagster.catalog.names import check_ref, read_body
from tippers_dagster.catalog.structure import PARENT_FIELD

CREATED = (
    Kind.CONCEPT,
    Kind.INDEX,
    Kind.RULE,
    Kind.FEATURE,
    Kind.LABELLING_FUNCTION,
    Kind.LABEL_MODEL,
    Kind.DERIVED_INDEX,
    Kind.CLASSIFIER,
    Kind.LABELLED_OCCUPANCY,
    Kind.PEOPLE_COUNT,
    Kind.FORECASTER,
)
"""Kinds that the page creates, in the order in which they are needed."""


@dataclass
class Edit:
    """One definition being edited in this session.

    Parameters
    ----------
    fields
        The content of its form; see ``fields_of``.
    expected
        The saved version that editing started from; 0 if none.
    base
        The definition at that version; None for a new one.
    generation
        Changes when lists in the form change, so that widgets are rebuilt with the right values.
    conflict
        Whether saving was refused because somebody else saved first. ``theirs`` is what they
        saved; None if they deleted it.
    set_aside
        Texts of this session that were replaced by somebody else's.
    start
        The content when it was opened or last saved.
    serial
        Unique per edit: the widgets of one that was discarded show nothing in the next.
    """

    kind: Kind
    concept: str
    name: str
    fields: dict[str, Any]
    description: str = ""
    owner: str = ""
    status: Status = "active"
    expected: int = 0
    base: Draft | None = None
    generation: int = 0
    conflict: bool = False
    theirs: Definition | None = None
    set_aside: list[str] = field(default_factory=list)
    start: dict[str, Any] = field(default_factory=dict)
    serial: int = field(default_factory=itertools.count().__next__)

    def __post_init__(self) -> None:
        self.start = self._content()

    def _content(self) -> dict[str, Any]:
        names = ("kind", "concept", "name", "fields", "description", "owner")
        return deepcopy({name: getattr(self, name) for name in names})

    @property
    def is_new(self) -> bool:
        """Whether it was not opened from an existing definition."""
        return self.base is None

    @property
    def ref(self) -> Ref:
        """The name as typed so far, which need not be valid."""
        return Ref(self.concept if self.kind.in_concept else "", self.name, self.kind)

    @property
    def dirty(self) -> bool:
        """Whether it has unsaved changes."""
        return self._content() != self.start

    def replace(self, definition: Definition) -> None:
        """Continue from the current definition."""
        set_aside = self.set_aside
        self.__dict__.update(begin(definition).__dict__)
        self.set_aside = set_aside


def begin(definition: Definition) -> Edit:
    """Open a definition."""
    ref = definition.ref
    readable = not isinstance(definition.body, Unreadable)
    return Edit(
        ref.kind,
        ref.concept,
        ref.name,
        fields_of(definition.body, ref.kind),
        definition.description,
        definition.owner,
        definition.status,
        expected=definition.version,
        base=draft_of(definition) if readable else Draft(ref, definition.body),
    )


def begin_copy(definition: Definition, name: str) -> Edit:
    """A new definition with the same content under another name."""
    edit = begin(definition)
    copy = Edit(edit.kind, edit.concept, name, edit.fields, edit.description, "")
    copy.start["fields"] = None  # a copy counts as unsaved: leaving the page must not lose it
    return copy


def begin_new(kind: Kind, concept: str, catalog: Catalog, parent: str = "", by: str = "") -> Edit:
    """A new definition, with its parent filled in if the kind has a field for it.

    Parameters
    ----------
    parent
        ``concept.name``; ignored if the kind cannot have it as a parent.
    """
    values = new_fields(kind)
    concept = concept if kind.in_concept else ""
    found = find(catalog, parent, concept)
    place = PARENT_FIELD.get(kind, {}).get(found.ref.kind) if found else None
    if found is not None and place is not None:
        written = written_name(found.ref, concept)
        values[place] = [written] if isinstance(values[place], list) else written
        _fill_index(values, found, concept, catalog)
    return Edit(kind, concept, "", values, owner=by)


def _fill_index(values: dict[str, Any], parent: Definition, concept: str, cat: Catalog) -> None:
    """Fill in the index that follows from the parent: that of its functions, labels or features."""
    if parent.ref in cat.problems or parent.status == "retired":
        return
    if parent.ref.kind in (Kind.LABELLING_FUNCTION, Kind.LABEL_MODEL, Kind.FEATURE):
        index = cat.index_of(parent.ref)
        place = "parent" if "parent" in values else "index"
        if index is not None and place in values:
            values[place] = written_name(index, concept)


def draft(edit: Edit) -> Draft:
    """The definition that a form describes.

    Raises
    ------
    BadInput
        One line for everything that is missing or invalid.
    """
    check_ref(edit.ref)
    body = read_body(edit.kind, body_values(edit.kind, edit.fields))
    return Draft(edit.ref, body, edit.description.strip(), edit.owner.strip(), edit.status)
