"""Definitions while somebody writes them: what a form holds, and the definition that it says.

A form holds what was typed, right or wrong; only ``draft`` asks whether it can be a definition.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

from tippers_dagster.catalog import files, yaml_text
from tippers_dagster.catalog.catalog import Catalog, draft_of, same_content
from tippers_dagster.catalog.checking import DEVICE_KEY, INDEXES
from tippers_dagster.catalog.kinds import (
    Body,
    Classifier,
    Concept,
    Condition,
    DerivedIndex,
    Forecaster,
    Kind,
    LabelledOccupancy,
    LabellingFunction,
    LabelModel,
    PeopleCount,
)
from tippers_dagster.catalog.model import Definition, Draft, Ref, Status, Unreadable
from tippers_dagster.catalog.names import check_ref, read_body
from tippers_dagster.catalog.rows import Version
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.expressions.nodes import Scalar
from tippers_dagster.labelling.form import (
    OPERATORS,
    Form,
    FormRow,
    Operator,
    condition_to_form,
    form_to_condition,
)

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
"""Kinds that this page makes, in the order in which they are needed."""

PARENT_FIELD: dict[Kind, dict[Kind, str]] = {
    Kind.RULE: {Kind.INDEX: "index", Kind.DERIVED_INDEX: "index"},
    Kind.FEATURE: {Kind.INDEX: "index", Kind.DERIVED_INDEX: "index"},
    Kind.LABELLING_FUNCTION: {Kind.RULE: "rule"},
    Kind.LABEL_MODEL: {
        Kind.INDEX: "index",
        Kind.DERIVED_INDEX: "index",
        Kind.LABELLING_FUNCTION: "labelling_functions",
    },
    Kind.DERIVED_INDEX: {
        Kind.LABEL_MODEL: "label_model",
        Kind.INDEX: "parent",
        Kind.DERIVED_INDEX: "parent",
    },
    Kind.CLASSIFIER: {
        Kind.LABEL_MODEL: "label_model",
        Kind.FEATURE: "features",
        Kind.INDEX: "index",
        Kind.DERIVED_INDEX: "index",
    },
    Kind.LABELLED_OCCUPANCY: {Kind.LABEL_MODEL: "by", Kind.CLASSIFIER: "by"},
    Kind.PEOPLE_COUNT: {Kind.LABEL_MODEL: "by", Kind.CLASSIFIER: "by"},
}
"""The field of a new definition that a parent of some kind goes into."""

LISTS = ("in", "not in")
NULL_TESTS = ("is null", "is not null")

_NEW_SQL = {
    Kind.INDEX: "SELECT DISTINCT mac_address\nFROM int_sessions",
    Kind.RULE: "SELECT\n    mac_address,\n    count(*) AS sessions\nFROM int_sessions\n"
    "WHERE mac_address IN (:index_values)\nGROUP BY mac_address",
    Kind.FEATURE: "SELECT\n    mac_address,\n    avg(seconds) AS mean_seconds\nFROM int_sessions\n"
    "WHERE mac_address IN (:index_values)\nGROUP BY mac_address",
}
_NEW_PYTHON = 'def labeling_function(row):\n    """Says when it votes."""\n    return ABSTAIN\n'
_PLAIN: dict[Kind, Body] = {
    Kind.CLASSIFIER: Classifier(index="x", label_model="x", features=("x",)),
    Kind.LABELLED_OCCUPANCY: LabelledOccupancy(by="x"),
    Kind.PEOPLE_COUNT: PeopleCount(),
    Kind.FORECASTER: Forecaster(),
}
"""Kinds whose form holds just the fields of the body; new ones begin as these, with nothing chosen.
"""
_CHOSEN = ("index", "label_model", "features", "by", "spaces")
"""Fields of these that name definitions or spaces."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ITEM = re.compile(r"\s*('(?:[^']|'')*'|[^,]*)\s*(?:,|$)")


@dataclass
class Work:
    """One definition in somebody's hands.

    Parameters
    ----------
    fields
        What the form of its kind holds; see ``fields_of``.
    expected
        The saved version that it was opened with, 0 for none.
    base
        What was there then; none for a new one.
    generation
        Grows when lists of the fields change, so that widgets show what is in their place now.
    conflict
        Whether somebody else saved meanwhile and saving was refused; ``theirs`` is what is there
        now, none when it was deleted.
    aside
        Texts of one's own that were replaced by somebody else's.
    start
        What was there when it was opened or saved.
    serial
        Another one for each that is opened: widgets of one that was put away show nothing here.
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
    aside: list[str] = field(default_factory=list)
    start: dict[str, Any] = field(default_factory=dict)
    serial: int = field(default_factory=itertools.count().__next__)

    def __post_init__(self) -> None:
        self.start = self._now()

    def _now(self) -> dict[str, Any]:
        names = ("kind", "concept", "name", "fields", "description", "owner")
        return deepcopy({name: getattr(self, name) for name in names})

    @property
    def is_new(self) -> bool:
        """Whether no definition of this name was opened."""
        return self.base is None

    @property
    def ref(self) -> Ref:
        """The name as it is written now; it may be none."""
        return Ref(self.concept if self.kind.in_concept else "", self.name, self.kind)

    @property
    def dirty(self) -> bool:
        """Whether something was typed since it was opened or saved."""
        return self._now() != self.start

    def replace(self, definition: Definition) -> None:
        """Go on from a definition as it is now."""
        aside = self.aside
        self.__dict__.update(begin(definition).__dict__)
        self.aside = aside


# --- beginning -----------------------------------------------------------------------------------
def begin(definition: Definition) -> Work:
    """Open a definition."""
    ref = definition.ref
    readable = not isinstance(definition.body, Unreadable)
    return Work(
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


def begin_copy(definition: Definition, name: str) -> Work:
    """A new definition that says the same under another name."""
    work = begin(definition)
    made = Work(work.kind, work.concept, name, work.fields, work.description, "")
    made.start["fields"] = None  # a copy is not saved: leaving it would lose it
    return made


def begin_new(kind: Kind, concept: str, catalog: Catalog, parent: str = "", by: str = "") -> Work:
    """A new definition, with a parent filled in where it has a place for one.

    Parameters
    ----------
    parent
        ``concept.name``; what cannot be a parent of the kind is passed over.
    """
    values = _new_fields(kind)
    concept = concept if kind.in_concept else ""
    found = find(catalog, parent, concept)
    place = PARENT_FIELD.get(kind, {}).get(found.ref.kind) if found else None
    if found is not None and place is not None:
        written = written_name(found.ref, concept)
        values[place] = [written] if isinstance(values[place], list) else written
        _fill_around(values, found, concept, catalog)
    return Work(kind, concept, "", values, owner=by)


def find(catalog: Catalog, written: str, concept: str) -> Definition | None:
    """The definition that a name means inside a concept, of whatever state."""
    namespace, _, name = written.rpartition(".")
    return catalog.named(namespace or concept, name) if name else None


def sound(catalog: Catalog, written: str, concept: str) -> Definition | None:
    """As ``find``, but only one that is active and can work."""
    found = find(catalog, written, concept)
    if found is None or found.status != "active" or found.ref in catalog.problems:
        return None
    return found


def _fill_around(values: dict[str, Any], parent: Definition, concept: str, cat: Catalog) -> None:
    """What follows from the parent: the index that its functions, labels or features are of."""
    if parent.ref in cat.problems or parent.status == "retired":
        return
    if parent.ref.kind in (Kind.LABELLING_FUNCTION, Kind.LABEL_MODEL, Kind.FEATURE):
        index = cat.index_of(parent.ref)
        place = "parent" if "parent" in values else "index"
        if index is not None and place in values:
            values[place] = written_name(index, concept)


def _new_fields(kind: Kind) -> dict[str, Any]:
    if kind == Kind.CONCEPT:
        return {"values": [], "refines": ""}
    if kind == Kind.INDEX:
        return {"key": "mac_address", "sql": _NEW_SQL[kind]}
    if kind in (Kind.RULE, Kind.FEATURE):
        return {"index": "", "sql": _NEW_SQL[kind]}
    if kind == Kind.LABELLING_FUNCTION:
        return _function_fields("", [], "form", [new_condition()], [], _NEW_PYTHON, "")
    if kind == Kind.LABEL_MODEL:
        return _model_fields(LabelModel(index="x", labelling_functions=()), index="")
    if kind == Kind.DERIVED_INDEX:
        return _derived_fields(DerivedIndex(parent="x", label_model="x"), parent="", label_model="")
    fields = _plain_fields(_PLAIN[kind])
    return fields | {n: [] if isinstance(fields[n], list) else "" for n in _CHOSEN if n in fields}


def new_condition() -> dict[str, Any]:
    """An empty condition of the form."""
    return {"label": "", "joined": "all", "rows": [new_row()]}


def new_row() -> dict[str, Any]:
    """An empty test of a condition."""
    return {"column": "", "operator": ">=", "value": ""}


# --- from a body to a form -----------------------------------------------------------------------
def fields_of(body: Body, kind: Kind) -> dict[str, Any]:
    """What the form of a kind holds for a body.

    ``yaml`` for what has no form: bodies that cannot be read.
    """
    match body:
        case Unreadable():
            raw = {k: v for k, v in body.raw.items() if k not in files.SECRET_FIELDS}
            return {"yaml": yaml_text.dump(raw) if raw else ""}
        case Concept():
            values = [v.model_dump() | {"parent": v.parent or ""} for v in body.values]
            return {"values": values, "refines": body.refines or ""}
        case LabellingFunction():
            return _fields_of_function(body)
        case LabelModel():
            return _model_fields(body, index=body.index)
        case DerivedIndex():
            return _derived_fields(body, parent=body.parent, label_model=body.label_model)
    if kind in (Kind.INDEX, Kind.RULE, Kind.FEATURE):
        return body.model_dump()
    if kind in _PLAIN:
        return _plain_fields(body)
    return {"yaml": yaml_text.dump(body.model_dump(mode="json", exclude_defaults=True))}


def _plain_fields(body: Body) -> dict[str, Any]:
    """Fields as widgets hold them: lists, and an empty text for nothing chosen."""
    return {name: "" if v is None else v for name, v in body.model_dump(mode="json").items()}


def _fields_of_function(body: LabellingFunction) -> dict[str, Any]:
    forms = [condition_to_fields(c) for c in body.conditions]
    told = [{"when": c.when, "label": c.label} for c in body.conditions]
    whole = [form for form in forms if form is not None]
    if body.function is not None:
        mode = "function"
    elif body.python is not None:
        mode = "python"
    else:
        mode = "form" if len(whole) == len(forms) else "expression"
    given = whole if mode == "form" else [new_condition()]
    return _function_fields(
        body.rule, list(body.labels), mode, given, told, body.python or _NEW_PYTHON,
        body.function or "",
    )  # fmt: skip


def _function_fields(
    rule: str,
    labels: list[str],
    mode: str,
    form: list[dict[str, Any]],
    expression: list[dict[str, str]],
    python: str,
    function: str,
) -> dict[str, Any]:
    return {
        "rule": rule,
        "labels": labels,
        "mode": mode,
        "form": form,
        "expression": expression,
        "python": python,
        "function": function,
    }


def condition_to_fields(condition: Condition) -> dict[str, Any] | None:
    """Rows of column, operator and value; none where only the expression can say it."""
    try:
        found = condition_to_form(condition)
    except BadInput:
        return None
    if found is None:
        return None
    rows = [
        {"column": r.column, "operator": r.operator, "value": _shown(r.value)} for r in found.rows
    ]
    as_read = {"text": condition.when, "joined": found.joined, "rows": deepcopy(rows)}
    return {"label": found.label, "joined": found.joined, "rows": rows, "as_read": as_read}


def _model_fields(body: LabelModel, index: str) -> dict[str, Any]:
    balance = body.class_balance
    how = "alike" if balance is None else "gold" if balance == "gold" else "shares"
    return {
        "index": index,
        "labelling_functions": list(body.labelling_functions),
        "labels": list(body.labels),
        "epochs": body.epochs,
        "learning_rate": body.learning_rate,
        "l2": body.l2,
        "seed": body.seed,
        "balance": how,
        "shares": dict(balance) if isinstance(balance, dict) else {},
    }


def _derived_fields(body: DerivedIndex, parent: str, label_model: str) -> dict[str, Any]:
    return {
        "parent": parent,
        "label_model": label_model,
        "labels": list(body.labels),
        "by_confidence": body.minimum_confidence is not None,
        "minimum_confidence": 0.7 if body.minimum_confidence is None else body.minimum_confidence,
        "include_unlabelled": body.include_unlabelled,
    }


# --- from a form to a draft ----------------------------------------------------------------------
def draft(work: Work) -> Draft:
    """What a form says.

    Raises
    ------
    BadInput
        A line for each thing that is missing or cannot be.
    """
    check_ref(work.ref)
    body = read_body(work.kind, body_values(work))
    return Draft(work.ref, body, work.description.strip(), work.owner.strip(), work.status)


def body_values(work: Work) -> dict[str, Any]:
    """The plain values of a body, as a form has them; see ``draft``."""
    given = work.fields
    if "yaml" in given:
        return yaml_text.load(given["yaml"])
    if work.kind == Kind.CONCEPT:
        values = [v | {"parent": v["parent"] or None} for v in given["values"]]
        return {"values": values, "refines": given["refines"] or None}
    if work.kind == Kind.LABELLING_FUNCTION:
        return _function_values(given)
    if work.kind == Kind.LABEL_MODEL:
        return _model_values(given)
    if work.kind == Kind.DERIVED_INDEX:
        _need(given, "parent", "label_model")
        names = ("parent", "label_model", "labels", "include_unlabelled")
        least = given["minimum_confidence"] if given["by_confidence"] else None
        return {name: given[name] for name in names} | {"minimum_confidence": least}
    if work.kind in (Kind.RULE, Kind.FEATURE):
        _need(given, "index")
    if work.kind in _PLAIN:
        if work.kind in (Kind.CLASSIFIER, Kind.LABELLED_OCCUPANCY):
            _need(given, *(name for name in _CHOSEN if name in given))
        return {name: None if value == "" else value for name, value in given.items()}
    return dict(given)


def _need(given: Mapping[str, Any], *names: str) -> None:
    said = {"by": "label model or classifier"}
    missing = [said.get(name, name.replace("_", " ")) for name in names if not given[name]]
    if missing:
        raise BadInput(f"Choose the {' and the '.join(missing)}.")


def _function_values(given: Mapping[str, Any]) -> dict[str, Any]:
    _need(given, "rule")
    if not given["labels"]:
        raise BadInput("Choose the labels that it may vote for.")
    values = {"rule": given["rule"], "labels": given["labels"]}
    if given["mode"] == "python":
        return values | {"python": given["python"]}
    if given["mode"] == "function":
        return values | {"function": given["function"]}
    conditions = conditions_of(given)
    if not conditions:
        raise BadInput("It has no condition.", "Say when it votes.")
    return values | {"conditions": [c.model_dump() for c in conditions]}


def _model_values(given: Mapping[str, Any]) -> dict[str, Any]:
    _need(given, "index")
    if not given["labelling_functions"]:
        raise BadInput("Choose the labelling functions.")
    names = (
        *("index", "labelling_functions", "labels"),
        *("epochs", "learning_rate", "l2", "seed"),
    )
    balance = {"alike": None, "gold": "gold", "shares": given["shares"]}[given["balance"]]
    return {name: given[name] for name in names} | {"class_balance": balance}


def conditions_of(given: Mapping[str, Any]) -> list[Condition]:
    """The conditions that the form or the expressions of a labelling function say.

    Raises
    ------
    BadInput
        Naming the condition that cannot be.
    """
    if given["mode"] == "form":
        return [_form_condition(at, c) for at, c in enumerate(given["form"], 1)]
    found = []
    for at, condition in enumerate(given["expression"], 1):
        if not condition["label"]:
            raise BadInput(f"Condition {at} votes for no label.", "Choose one.")
        found.append(Condition(when=condition["when"], label=condition["label"]))
    return found


def _form_condition(at: int, condition: Mapping[str, Any]) -> Condition:
    if not condition["label"]:
        raise BadInput(f"Condition {at} votes for no label.", "Choose one.")
    read = condition.get("as_read")
    if read and (read["joined"], read["rows"]) == (condition["joined"], condition["rows"]):
        # As its author wrote it: == and = mean the same, and are not the same text.
        return Condition(when=read["text"], label=condition["label"])
    rows = []
    for row in condition["rows"]:
        if not row["column"]:
            raise BadInput(f"Condition {at} has a test without a column.", "Choose one.")
        rows.append(FormRow(row["column"], _operator(row["operator"]), _typed(row)))
    joined: Literal["all", "any"] = "any" if condition["joined"] == "any" else "all"
    try:
        return form_to_condition(Form(tuple(rows), joined, condition["label"]))
    except BadInput as error:
        raise BadInput(f"Condition {at}: {error.message}", error.hint) from None


def _operator(written: str) -> Operator:
    if written not in OPERATORS:
        raise BadInput(f"There is no operator {written!r}.", f"Take one of {', '.join(OPERATORS)}.")
    return written


def _typed(row: Mapping[str, Any]) -> Scalar | tuple[Scalar, ...] | None:
    text = str(row["value"]).strip()
    if row["operator"] in NULL_TESTS:
        return None
    if row["operator"] in LISTS:
        items = [m[1].strip() for m in _ITEM.finditer(text) if m[1].strip()]
        return tuple(_constant(item) for item in items)
    return None if text == "" else _constant(text)


def _constant(text: str) -> Scalar:
    """A number or truth value where it reads like one, else a text; in quotes always a text."""
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _NUMBER.fullmatch(text):
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    return text


def _shown(value: Scalar | tuple[Scalar, ...] | None) -> str:
    """What ``_typed`` reads as the same value."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(_shown(v) for v in value)
    if isinstance(value, str):
        plain = _constant(value) == value and value == value.strip() and "," not in value and value
        return value if plain else "'" + value.replace("'", "''") + "'"
    return str(value).lower() if isinstance(value, bool) else repr(value)


# --- another way to write a labelling function ---------------------------------------------------
def switch(given: dict[str, Any], mode: str) -> str | None:
    """Turn a labelling function's form to another way of writing; what was written before stays.

    Returns
    -------
    str or None
        Why it could not be taken over, where it could not.
    """
    before, given["mode"] = given["mode"], mode
    if mode == "expression" and before == "form":
        try:
            conditions = conditions_of({**given, "mode": "form"})
        except BadInput as error:
            return f"The form is not complete, so it was not taken over: {error.message}"
        given["expression"] = [c.model_dump() for c in conditions]
    elif mode == "form" and before == "expression":
        forms = [condition_to_fields(Condition(**c)) for c in given["expression"] if c["label"]]
        whole = [form for form in forms if form is not None]
        if not whole or len(whole) < len(given["expression"]):
            given["mode"] = before
            return (
                "The form has rows of column, operator and value only; these expressions say "
                "more, and stay as they are."
            )
        given["form"] = whole
    if mode == "expression" and not given["expression"]:
        given["expression"] = [{"when": "", "label": ""}]
    return None


# --- what can be chosen --------------------------------------------------------------------------
def written_name(ref: Ref, concept: str) -> str:
    """The name as it is written inside a concept."""
    return ref.name if ref.concept == concept else str(ref)


def choices(
    catalog: Catalog, kinds: Sequence[Kind], concept: str, chosen: Sequence[str] = ()
) -> list[str]:
    """Names of active definitions of some kinds as they are written inside a concept.

    Those of the concept come first. What is chosen stands as it is written, even when there is
    no such definition.
    """
    written: dict[Ref, str] = {}
    unknown = []
    for name in chosen:
        found = find(catalog, name, concept)
        if name and found is not None:
            written[found.ref] = name
        elif name:
            unknown.append(name)
    refs = [d.ref for kind in kinds for d in catalog.of_kind(kind, broken=True)]
    ordered = sorted(refs, key=lambda ref: (ref.concept != concept, ref))
    found_names = [written.get(ref, written_name(ref, concept)) for ref in ordered]
    retired = [name for ref, name in written.items() if ref not in refs]
    return [*found_names, *retired, *unknown]


def index_choices(catalog: Catalog, concept: str, chosen: str) -> list[str]:
    """The indexes that a definition may stand on."""
    return choices(catalog, INDEXES, concept, [chosen])


def function_choices(
    catalog: Catalog, concept: str, index: str, chosen: Sequence[str]
) -> list[str]:
    """The labelling functions of a concept that look at the entities of an index."""
    wanted = find(catalog, index, concept)
    own = choices(catalog, (Kind.LABELLING_FUNCTION,), concept, chosen)
    kept = []
    for name in own:
        found = find(catalog, name, concept)
        fits = (
            found is not None
            and found.ref.concept == concept
            and found.ref not in catalog.problems
            and found.status == "active"
            and wanted is not None
            and catalog.index_of(found.ref) == wanted.ref
        )
        if fits or name in chosen:
            kept.append(name)
    return kept


def feature_choices(catalog: Catalog, concept: str, index: str, chosen: Sequence[str]) -> list[str]:
    """The features of the entities of an index, or of one that it is derived from."""
    own = find(catalog, index, concept)
    above = set() if own is None else {own.ref, *_above(catalog, own)}

    def fits(name: str) -> bool:
        found = sound(catalog, name, concept)
        return found is not None and catalog.index_of(found.ref) in above

    names = choices(catalog, (Kind.FEATURE,), concept, chosen)
    return [name for name in names if name in chosen or fits(name)]


def _above(catalog: Catalog, index: Definition) -> Iterator[Ref]:
    """The indexes that an index is derived from."""
    seen = {index.ref}
    found: Definition | None = index
    while found is not None and isinstance(found.body, DerivedIndex):
        found = find(catalog, found.body.parent, found.ref.concept)
        if found is None or found.ref in seen:
            return
        seen.add(found.ref)
        yield found.ref


def labels_given(catalog: Catalog, by: str, concept: str = "") -> list[str]:
    """The labels that a label model, or the one that a classifier learns from, gives."""
    found = sound(catalog, by, concept)
    if found is not None and isinstance(found.body, Classifier):
        found = sound(catalog, found.body.label_model, found.ref.concept)
    if found is None or found.ref.kind != Kind.LABEL_MODEL:
        return []
    return list(catalog.model_labels(found.ref))


def device_labels(catalog: Catalog, chosen: str) -> list[str]:
    """The label models and classifiers whose entities are devices, as ``concept.name``."""

    def fits(name: str) -> bool:
        found = sound(catalog, name, "")
        return found is not None and catalog.key_column(found.ref) == DEVICE_KEY

    names = choices(catalog, (Kind.LABEL_MODEL, Kind.CLASSIFIER), "", [chosen])
    return [name for name in names if name == chosen or fits(name)]


def model_labels(catalog: Catalog, work: Work) -> list[str]:
    """The labels that a label model will have: those chosen, or all that its functions vote for."""
    if work.fields["labels"]:
        return list(work.fields["labels"])
    votes: set[str] = set()
    for name in work.fields["labelling_functions"]:
        found = find(catalog, name, work.concept)
        if found is not None and isinstance(found.body, LabellingFunction):
            votes.update(found.body.labels)
    return [label for label in labels_of(catalog, work.concept) if label in votes]


def labels_of(catalog: Catalog, concept: str) -> list[str]:
    """The labels of a concept; none when it cannot be read."""
    try:
        return list(catalog.labels(concept))
    except BadInput:
        return []


def refinable(catalog: Catalog, concept: str) -> list[str]:
    """The labels of other concepts, as ``people.RESIDENT``."""
    return [
        f"{d.ref.name}.{label}"
        for d in catalog.of_kind(Kind.CONCEPT)
        if d.ref.name != concept
        for label in labels_of(catalog, d.ref.name)
    ]


def tree_lines(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """The labels of a concept as an indented list; those that refine nothing known come first."""
    names = {v["name"] for v in values}
    lines: list[str] = []
    seen: set[str] = set()

    def add(value: Mapping[str, Any], depth: int) -> None:
        if value["name"] in seen:
            return
        seen.add(value["name"])
        told = f": {value['description']}" if value["description"] else ""
        lines.append(f"{'    ' * depth}{value['name']}{told}")
        for child in values:
            if child["parent"] == value["name"]:
                add(child, depth + 1)

    for value in values:
        if value["parent"] not in names:
            add(value, 0)
    for value in values:  # those in circles
        add(value, 0)
    return lines


# --- as text -------------------------------------------------------------------------------------
def text_of(given: Draft | Definition | Version | Work) -> str:
    """A definition as people compare it: its fields, and long texts below them, line by line."""
    if isinstance(given, Work):
        try:
            return text_of(draft(given))
        except BadInput:
            plain = {"description": given.description, "owner": given.owner, **given.fields}
            return _joined(plain)
    if isinstance(given, Version):
        try:
            body = read_body(given.ref.kind, given.body)
        except BadInput:
            body = Unreadable(reason="", raw=dict(given.body))
        given = Draft(given.ref, body, given.description, given.owner, given.status)
    if isinstance(given.body, Unreadable):
        raw = {k: v for k, v in given.body.raw.items() if k not in files.SECRET_FIELDS}
        return json.dumps(raw, indent=2, ensure_ascii=False)
    about = {"description": given.description, "owner": given.owner, "status": given.status}
    body_fields = given.body.model_dump(mode="json", exclude_defaults=True)
    plain = {k: v for k, v in (about | body_fields).items() if k not in files.SECRET_FIELDS}
    return _joined(plain)


def _joined(values: Mapping[str, Any]) -> str:
    long = {k: v for k, v in values.items() if k in files.LONG_TEXTS and v}
    short = {k: v for k, v in values.items() if k not in long and v not in ("", None)}
    parts = [yaml_text.dump(short).rstrip()] if short else []
    parts += [f"--- {name} ---\n{text.rstrip()}" for name, text in long.items()]
    return "\n".join(parts) + "\n"


def same(a: Draft | Definition, b: Draft | Definition) -> bool:
    """Whether two say the same."""
    return same_content(a, b)
