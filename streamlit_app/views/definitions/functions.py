"""The form of a labelling function: rows, expressions or Python."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyarrow as pa
import streamlit as st

from streamlit_app.services import definition_forms as forms
from streamlit_app.services import definition_preview as previews
from streamlit_app.services.app import App
from streamlit_app.ui.messages import plain
from streamlit_app.views.definitions.binding import Form
from streamlit_app.views.definitions.kinds import problems
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.labelling.form import OPERATORS

MODES = {"form": "Form", "expression": "Expressions", "python": "Python"}


def labelling_function(
    app: App, catalog: Catalog, form: Form, faults: tuple[previews.Fault, ...]
) -> None:
    """Whose row it looks at, what it may vote for, and when."""
    work = form.work
    fields = work.fields
    with st.container(horizontal=True):
        rules = forms.choices(catalog, (Kind.RULE,), work.concept, [fields["rule"]])
        form.choice("Rule", rules, fields, "rule", help="Whose rows it looks at.", width=320)
        form.choices(
            "Labels that it may vote for",
            forms.labels_of(catalog, work.concept),
            fields,
            "labels",
            placeholder="Choose",
            width=420,
        )
    columns = previews.rule_columns(app, catalog, fields["rule"], work.concept)
    if fields["mode"] == "function":
        st.info(
            f"It is the whole Python function {plain(fields['function'])} of the project's files, "
            "and is changed there. Another way of writing it here takes its place.",
            icon=":material/code:",
        )
        with st.container(horizontal=True):
            for mode, label in MODES.items():
                form.button(f"Write it as {label}", partial(_switch, form, mode), "to", mode)
        return
    _modes(form)
    _told_columns(columns, fields["rule"])
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
            "One function of a row: `row.column` or `row['column']`, `if`, comparisons, "
            "arithmetic, `return` of a label or `ABSTAIN`. It is compiled, never run as it stands."
        )


def _modes(form: Form) -> None:
    """The ways of writing; what was written in one stays when another is taken."""
    with st.container(horizontal=True, gap="small"):
        for mode, label in MODES.items():
            form.button(
                label,
                partial(_switch, form, mode),
                "mode",
                mode,
                type="primary" if form.work.fields["mode"] == mode else "secondary",
            )
    told = st.session_state.pop("definitions.switch", None)
    if told:
        st.warning(plain(told), icon=":material/info:")


def _switch(form: Form, mode: str) -> None:
    if mode != form.work.fields["mode"]:
        st.session_state["definitions.switch"] = forms.switch(form.work.fields, mode)


def _told_columns(columns: dict[str, pa.DataType], rule: str) -> None:
    if columns:
        told = ", ".join(f"`{name}` {_type(kind)}" for name, kind in columns.items())
        st.caption(f"The rule's columns: {told}")
    elif rule:
        st.caption("The rule's columns are not known yet: it was never computed.")


def _type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "true or false"
    if pa.types.is_integer(kind):
        return "whole number"
    if pa.types.is_floating(kind):
        return "number"
    return "text" if pa.types.is_string(kind) else "other"


# --- rows ----------------------------------------------------------------------------------------
def _form(form: Form, columns: list[str]) -> None:
    conditions: list[dict[str, Any]] = form.work.fields["form"]
    for at, condition in enumerate(conditions):
        with st.container(border=True):
            _condition(form, conditions, at, condition)
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
        lambda: conditions.append(forms.new_condition()),
        "add condition",
        icon=":material/add:",
    )
    if len(conditions) > 1:
        st.caption("The first condition that holds votes.")


def _add_test(rows: list[dict[str, Any]]) -> None:
    rows.append(forms.new_row())


def _condition(
    form: Form, conditions: list[dict[str, Any]], at: int, condition: dict[str, Any]
) -> None:
    number = at + 1
    with st.container(horizontal=True, vertical_alignment="bottom"):
        labels = form.work.fields["labels"]
        form.choice(f"Condition {number} votes", labels, condition, "label", "form", at, width=220)
        form.radio(
            "when",
            {"all": "all of these hold", "any": "any of these holds"},
            condition,
            "joined",
            "form",
            at,
        )
        if len(conditions) > 1:
            form.button(
                "",
                partial(conditions.pop, at),
                "remove condition",
                at,
                icon=":material/close:",
                type="tertiary",
                help=f"Remove condition {number}",
            )


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
        if row["operator"] not in forms.NULL_TESTS:
            hint = "office, lab" if row["operator"] in forms.LISTS else "15, 0.8, office, true"
            form.text(f"Value of test {name}", row, "value", *place, placeholder=hint, **hidden)
    with cells[3]:
        if len(rows) > 1:
            form.button(
                "",
                partial(rows.pop, place[1]),
                "remove test",
                *place,
                icon=":material/close:",
                type="tertiary",
                help=f"Remove test {name}",
            )


# --- expressions ---------------------------------------------------------------------------------
def _expressions(
    form: Form, columns: dict[str, pa.DataType], faults: tuple[previews.Fault, ...]
) -> None:
    conditions: list[dict[str, str]] = form.work.fields["expression"]
    for at, condition in enumerate(conditions):
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
                labels = form.work.fields["labels"]
                form.choice(
                    f"Condition {at + 1} votes", labels, condition, "label", "when", at, width=220
                )
                if len(conditions) > 1:
                    form.button(
                        "",
                        partial(conditions.pop, at),
                        "remove expression",
                        at,
                        icon=":material/close:",
                        type="tertiary",
                        help=f"Remove condition {at + 1}",
                    )
    form.button(
        "Add a condition",
        lambda: conditions.append({"when": "", "label": ""}),
        "add expression",
        icon=":material/add:",
    )
    st.caption(
        "For instance `mean_hours >= 15 and dates between 3 and 10`, `kind in ('office', 'lab')`, "
        "`partner is null`. The first condition that holds votes; a null makes it abstain."
    )
