"""Form fields of a definition's body: filled from a body, and turned back into one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamlit_app.services.definitions.conditions import (
    condition_to_fields,
    conditions_of,
    new_condition,
)
from tippers_dagster.catalog import files
from tippers_dagster.catalog.kinds import (
    Body,
    Classifier,
    Concept,
    DerivedIndex,
    Feature,
    Forecaster,
    Index,
    Kind,
    LabelledOccupancy,
    LabellingFunction,
    LabelModel,
    PeopleCount,
    Rule,
)
from tippers_dagster.catalog.model import Unreadable
from tippers_dagster.catalog.refresh import ON_CHANGE, UNITS, in_units, parse_refresh
from tippers_dagster.catalog.window import parse_window
from tippers_dagster.errors import BadInput
from tippers_dagster.platform import yaml_text

_NEW_SQL = {
    Kind.INDEX: "SELECT DISTINCT mac_address\nFROM int_sessions",
    Kind.RULE: "SELECT\n    mac_address,\n    count(*) AS sessions\nFROM int_sessions\n"
    "WHERE mac_address IN (:index_values)\nGROUP BY mac_address",
    Kind.FEATURE: "SELECT\n    mac_address,\n    avg(seconds) AS mean_seconds\nFROM int_sessions\n"
    "WHERE mac_address IN (:index_values)\nGROUP BY mac_address",
}
_NEW_PYTHON = 'def labeling_function(row):\n    """When it votes."""\n    return ABSTAIN\n'
_PLAIN: dict[Kind, Body] = {
    Kind.CLASSIFIER: Classifier(index="x", label_model="x", features=("x",)),
    Kind.LABELLED_OCCUPANCY: LabelledOccupancy(by="x"),
    Kind.PEOPLE_COUNT: PeopleCount(),
    Kind.FORECASTER: Forecaster(),
}
"""Kinds whose form fields are the body's fields; new ones start from these, with nothing chosen."""
_CHOSEN = ("index", "label_model", "features", "by", "spaces")
"""Their fields that name definitions or spaces."""


# --- a new definition ----------------------------------------------------------------------------
def new_fields(kind: Kind) -> dict[str, Any]:
    """The form fields of a new definition."""
    if kind == Kind.CONCEPT:
        return {"values": [], "refines": "", **_refresh_fields(None), **_window_fields(None)}
    if kind == Kind.INDEX:
        return {"key": "mac_address", "sql": _NEW_SQL[kind], **_window_fields(None)}
    if kind in (Kind.RULE, Kind.FEATURE):
        return {"index": "", "sql": _NEW_SQL[kind], **_window_fields(None)}
    if kind == Kind.LABELLING_FUNCTION:
        return {
            "rule": "",
            "labels": [],
            "mode": "form",
            "form": [new_condition()],
            "expression": [],
            "python": _NEW_PYTHON,
            "function": "",
        }
    if kind == Kind.LABEL_MODEL:
        return _label_model_fields(LabelModel(index="x", labelling_functions=())) | {"index": ""}
    if kind == Kind.DERIVED_INDEX:
        nothing = {"parent": "", "label_model": ""}
        return _derived_index_fields(DerivedIndex(parent="x", label_model="x")) | nothing
    fields = _plain_fields(_PLAIN[kind])
    return fields | {n: [] if isinstance(fields[n], list) else "" for n in _CHOSEN if n in fields}


# --- from a body to fields -----------------------------------------------------------------------
def fields_of(body: Body, kind: Kind) -> dict[str, Any]:
    """The form fields of a body.

    The only field is ``yaml`` where there is no form, as for bodies that cannot be read.
    """
    match body:
        case Unreadable():
            raw = {k: v for k, v in body.raw.items() if k not in files.SECRET_FIELDS}
            return {"yaml": yaml_text.dump(raw) if raw else ""}
        case Concept():
            values = [v.model_dump() | {"parent": v.parent or ""} for v in body.values]
            return {
                "values": values,
                "refines": body.refines or "",
                **_refresh_fields(body.refresh),
                **_window_fields(body.window),
            }
        case Index() | Rule() | Feature():
            return {**body.model_dump(exclude={"window"}), **_window_fields(body.window)}
        case LabellingFunction():
            return _function_fields(body)
        case LabelModel():
            return _label_model_fields(body)
        case DerivedIndex():
            return _derived_index_fields(body)
    if kind in _PLAIN:
        return _plain_fields(body)
    return {"yaml": yaml_text.dump(body.model_dump(mode="json", exclude_defaults=True))}


def _plain_fields(body: Body) -> dict[str, Any]:
    """The fields as widgets hold them: lists, and empty text where nothing is chosen."""
    return {name: "" if v is None else v for name, v in body.model_dump(mode="json").items()}


def _refresh_fields(text: str | None) -> dict[str, Any]:
    """A refresh policy: its form, and the parts of an interval and of a schedule."""
    policy = ON_CHANGE if text is None else parse_refresh(text)
    number, unit = in_units(policy.seconds or UNITS["hour"])
    forms = {"every": policy.seconds is not None, "cron": policy.cron is not None}
    form = next((name for name, given in forms.items() if given), text or "")
    return {
        "refresh": form,
        "refresh_number": number,
        "refresh_unit": unit,
        "refresh_cron": policy.cron or "0 4 * * *",
    }


def _refresh_value(fields: Mapping[str, Any]) -> str | None:
    form = fields["refresh"]
    if form == "every":
        return f"every {fields['refresh_number']} {fields['refresh_unit']}s"
    return f"cron {fields['refresh_cron']}" if form == "cron" else form or None


def _window_fields(text: str | None) -> dict[str, Any]:
    """A window: its form, and the number of weeks."""
    weeks = None if text is None else parse_window(text).weeks
    return {"window": "weeks" if weeks else text or "", "window_weeks": weeks or 8}


def _window_value(fields: Mapping[str, Any]) -> str | None:
    form = fields["window"]
    return f"last {fields['window_weeks']} weeks" if form == "weeks" else form or None


def _function_fields(body: LabellingFunction) -> dict[str, Any]:
    forms = [condition_to_fields(condition) for condition in body.conditions]
    representable = [form for form in forms if form is not None]
    if body.function is not None:
        mode = "function"
    elif body.python is not None:
        mode = "python"
    else:
        mode = "form" if len(representable) == len(forms) else "expression"
    return {
        "rule": body.rule,
        "labels": list(body.labels),
        "mode": mode,
        "form": representable if mode == "form" else [new_condition()],
        "expression": [{"when": c.when, "label": c.label} for c in body.conditions],
        "python": body.python or _NEW_PYTHON,
        "function": body.function or "",
    }


def _label_model_fields(body: LabelModel) -> dict[str, Any]:
    balance = body.class_balance
    return {
        "index": body.index,
        "labelling_functions": list(body.labelling_functions),
        "labels": list(body.labels),
        "epochs": body.epochs,
        "learning_rate": body.learning_rate,
        "l2": body.l2,
        "seed": body.seed,
        "balance": "equal" if balance is None else "gold" if balance == "gold" else "shares",
        "shares": dict(balance) if isinstance(balance, dict) else {},
    }


def _derived_index_fields(body: DerivedIndex) -> dict[str, Any]:
    return {
        "parent": body.parent,
        "label_model": body.label_model,
        "labels": list(body.labels),
        "by_confidence": body.minimum_confidence is not None,
        "minimum_confidence": 0.7 if body.minimum_confidence is None else body.minimum_confidence,
        "include_unlabelled": body.include_unlabelled,
    }


# --- from fields to a body -----------------------------------------------------------------------
def body_values(kind: Kind, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a body as the form has them.

    Raises
    ------
    BadInput
        For a choice that is missing, or a condition that is not valid.
    """
    if "yaml" in fields:
        return yaml_text.load(fields["yaml"])
    if kind == Kind.CONCEPT:
        values = [v | {"parent": v["parent"] or None} for v in fields["values"]]
        refines, refresh = fields["refines"] or None, _refresh_value(fields)
        window = _window_value(fields)
        return {"values": values, "refines": refines, "refresh": refresh, "window": window}
    if kind == Kind.LABELLING_FUNCTION:
        return _function_values(fields)
    if kind == Kind.LABEL_MODEL:
        return _label_model_values(fields)
    if kind == Kind.DERIVED_INDEX:
        _require(fields, "parent", "label_model")
        names = ("parent", "label_model", "labels", "include_unlabelled")
        minimum = fields["minimum_confidence"] if fields["by_confidence"] else None
        return {name: fields[name] for name in names} | {"minimum_confidence": minimum}
    if kind in (Kind.RULE, Kind.FEATURE):
        _require(fields, "index")
    if kind in (Kind.INDEX, Kind.RULE, Kind.FEATURE):
        own = {name: v for name, v in fields.items() if name != "window_weeks"}
        return own | {"window": _window_value(fields)}
    if kind in _PLAIN:
        if kind in (Kind.CLASSIFIER, Kind.LABELLED_OCCUPANCY):
            _require(fields, *(name for name in _CHOSEN if name in fields))
        return {name: None if value == "" else value for name, value in fields.items()}
    return dict(fields)


def _require(fields: Mapping[str, Any], *names: str) -> None:
    words = {"by": "label model or classifier"}
    missing = [f"the {words.get(n, n.replace('_', ' '))}" for n in names if not fields[n]]
    if missing:
        *first, last = missing
        raise BadInput(f"Choose {', '.join(first)}{' and ' if first else ''}{last}.")


def _function_values(fields: Mapping[str, Any]) -> dict[str, Any]:
    _require(fields, "rule")
    if not fields["labels"]:
        raise BadInput("Choose the labels that the function may vote for.")
    values = {"rule": fields["rule"], "labels": fields["labels"]}
    if fields["mode"] == "python":
        return values | {"python": fields["python"]}
    if fields["mode"] == "function":
        return values | {"function": fields["function"]}
    conditions = conditions_of(fields)
    if not conditions:
        raise BadInput("The function has no conditions.", "Add at least one.")
    return values | {"conditions": [c.model_dump() for c in conditions]}


def _label_model_values(fields: Mapping[str, Any]) -> dict[str, Any]:
    _require(fields, "index")
    if not fields["labelling_functions"]:
        raise BadInput("Choose the labelling functions.")
    names = (
        *("index", "labelling_functions", "labels"),
        *("epochs", "learning_rate", "l2", "seed"),
    )
    balance = {"equal": None, "gold": "gold", "shares": fields["shares"]}[fields["balance"]]
    return {name: fields[name] for name in names} | {"class_balance": balance}
