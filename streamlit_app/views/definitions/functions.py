"""The form of a labelling function: rows, expressions or Python."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyarrow as pa
import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.definitions import choices, conditions
from streamlit_app.services.definitions.preview_sql import rule_columns
from streamlit_app.services.definitions.validation import Fault
from streamlit_app.ui.messages import plain
from streamlit_app.views.definitions.binding import Form
from streamlit_app.views.definitions.kinds import problems
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.labelling.form import OPERATORS

MODES = {"form": "Form", "expression": "Expressions", "python": "Python"}


def labelling_function(app: App, catalog: Catalog, form: Form, faults: tuple[Fault, ...]) -> None:
    """The rule that it reads, the labels that it may vote for, and when."""
    edit = form.edit
    fields = edit.fields
    with st.container(horizontal=True):
        rules = choices.choices(catalog, (Kind.RULE,), edit.concept, [fields["rule"]])
        form.choice(
            "Rule",
            rules,
            fields,
            "rule",
            help="The rule whose rows it reads, one row per entity",
            width=320,
        )
        form.choices(
            "Labels it may vote for",
            choices.labels_of_concept(catalog, edit.concept),
            fields,
            "labels",
            placeholder="Choose",
            width=420,
        )
    columns = rule_columns(app, catalog, fields["rule"], edit.concept)
    if fields["mode"] == "function":
        st.info(
            f"This is the Python function {plain(fields['function'])} in the project's files; edit "
            "it there. If you write it here instead, your version overrides the file.",
            icon=":material/code:",
        )
        with st.container(horizontal=True):
            for mode, label in MODES.items():
                form.button(f"Write as {label}", partial(_switch, form, mode), "to", mode)
        return
    _modes(form)
    _columns(columns, fields["rule"])
    if fields["mode"] == "form":
        _form(form, list(columns))
    elif fields["mode"] == "expression":
        _expressions(form, columns, faults)
    else:
        form.code(
            "Python",
            fields,
            "python",
            language="python",
            names=[*columns, *fields["labels"], "ABSTAIN"],
            problems=problems(faults, "python"),
            height=260,
        )
        st.caption(
            "One function of a row. It may use `row.column` or `row['column']`, `if`, comparisons "
            "and arithmetic, and returns a label or `ABSTAIN`. It is translated, not run as Python."
        )


def _modes(form: Form) -> None:
    """Buttons to switch between form, expressions and Python."""
    with st.container(horizontal=True, gap="small"):
        for mode, label in MODES.items():
            form.button(
                label,
                partial(_switch, form, mode),
                "mode",
                mode,
                type="primary" if form.edit.fields["mode"] == mode else "secondary",
            )
    warning = st.session_state.pop("definitions.switch", None)
    if warning:
        st.warning(plain(warning), icon=":material/info:")


def _switch(form: Form, mode: str) -> None:
    if mode != form.edit.fields["mode"]:
        st.session_state["definitions.switch"] = conditions.switch(form.edit.fields, mode)


def _columns(columns: dict[str, pa.DataType], rule: str) -> None:
    if columns:
        listed = ", ".join(f"`{name}` ({_type(kind)})" for name, kind in columns.items())
        st.caption(f"Columns of the rule: {listed}")
    elif rule:
        st.caption("Columns of the rule: not known until it has been computed.")


def _type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "true/false"
    if pa.types.is_integer(kind):
        return "whole number"
    if pa.types.is_floating(kind):
        return "number"
    return "text" if pa.types.is_string(kind) else "other"


# --- rows ----------------------------------------------------------------------------------------
def _form(form: Form, columns: list[str]) -> None:
    listed: list[dict[str, Any]] = form.edit.fields["form"]
    for at, condition in enumerate(listed):
        with st.container(border=True):
            _condition(form, listed, at, condition)
            for place, row in enumerate(condition["rows"]):
                _test(form, condition["rows"], (at, place), row, columns)
            form.button(
                "Add a test",
                partial(_add_test, condition["rows"]),
                "add test",
                at,
                icon=":material/add:",
                type="tertiary",
            )
    form.button(
        "Add a condition",
        lambda: listed.append(conditions.new_condition()),
        "add condition",
        icon=":material/add:",
    )
    if len(listed) > 1:
        st.caption("The first condition that holds decides the vote.")


def _add_test(rows: list[dict[str, Any]]) -> None:
    rows.append(conditions.new_row())


def _condition(
    form: Form, listed: list[dict[str, Any]], at: int, condition: dict[str, Any]
) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _label(form, condition, "form", at)
        form.radio(
            "when",
            {"all": "all of these hold", "any": "any of these hold"},
            condition,
            "joined",
            "form",
            at,
        )
        if len(listed) > 1:
            _remove_condition(form, listed, at)


def _label(form: Form, condition: dict[str, Any], group: str, at: int) -> None:
    labels = form.edit.fields["labels"]
    form.choice(f"Condition {at + 1} votes for", labels, condition, "label", group, at, width=220)


def _remove_condition(form: Form, listed: list[Any], at: int) -> None:
    remove = partial(listed.pop, at)
    form.icon_button("close", remove, f"Remove condition {at + 1}", "remove condition", at)


def _test(
    form: Form,
    rows: list[dict[str, Any]],
    place: tuple[int, int],
    row: dict[str, Any],
    columns: list[str],
) -> None:
    name = f"{place[0] + 1}.{place[1] + 1}"
    cells = st.columns([4, 2, 4, 1], vertical_alignment="center")
    hidden = {"label_visibility": "collapsed"}
    with cells[0]:
        form.choice(
            f"Column of test {name}", columns, row, "column", *place, none="Column", **hidden
        )
    with cells[1]:
        form.choice(f"Operator of test {name}", OPERATORS, row, "operator", *place, **hidden)
    with cells[2]:
        if row["operator"] not in conditions.NULL_TESTS:
            hint = "office, lab" if row["operator"] in conditions.LISTS else "15, 0.8, office, true"
            form.text(f"Value of test {name}", row, "value", *place, placeholder=hint, **hidden)
    with cells[3]:
        if len(rows) > 1:
            remove = partial(rows.pop, place[1])
            form.icon_button("close", remove, f"Remove test {name}", "remove test", *place)


# --- expressions ---------------------------------------------------------------------------------
def _expressions(form: Form, columns: dict[str, pa.DataType], faults: tuple[Fault, ...]) -> None:
    listed: list[dict[str, str]] = form.edit.fields["expression"]
    for at, condition in enumerate(listed):
        with st.container(border=True):
            form.code(
                f"Condition {at + 1} holds when",
                condition,
                "when",
                at,
                language="expression",
                names=list(columns),
                problems=problems(faults, "expression", at),
                height=90,
            )
            with st.container(horizontal=True, vertical_alignment="bottom"):
                _label(form, condition, "when", at)
                if len(listed) > 1:
                    _remove_condition(form, listed, at)
    form.button(
        "Add a condition",
        lambda: listed.append({"when": "", "label": ""}),
        "add expression",
        icon=":material/add:",
    )
    st.caption(
        "Examples: `mean_hours >= 15 and dates between 3 and 10`, `kind in ('office', 'lab')`, "
        "`partner is null`. The first condition that holds decides the vote. If a value is null, "
        "the function abstains."
    )
