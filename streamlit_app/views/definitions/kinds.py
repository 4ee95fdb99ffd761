"""The forms of all kinds except labelling functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.definitions import choices
from streamlit_app.services.definitions.preview_sql import readable_tables
from streamlit_app.services.definitions.text import tree_lines
from streamlit_app.services.definitions.validation import Fault
from streamlit_app.ui.editor import Problem
from streamlit_app.views.definitions import models
from streamlit_app.views.definitions.binding import Form
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.refresh import UNITS
from tippers_dagster.catalog.window import MAX_WEEKS

TALL = 260


def problems(faults: tuple[Fault, ...], field: str, condition: int = 0) -> list[Problem]:
    """The faults in one text, for its code editor."""
    return [
        Problem(f.line, f.column, f"{f.message} {f.hint}".strip(), "error")
        for f in faults
        if f.field == field and f.condition == condition
    ]


# --- SQL -----------------------------------------------------------------------------------------
def sql(app: App, catalog: Catalog, form: Form, faults: tuple[Fault, ...]) -> None:
    """An index, a rule or a feature."""
    edit = form.edit
    fields = edit.fields
    if edit.kind == Kind.INDEX:
        form.text(
            "Key column", fields, "key", help="The column that identifies an entity", width=320
        )
    else:
        options = choices.index_choices(catalog, edit.concept, fields["index"])
        form.choice(
            "Index",
            options,
            fields,
            "index",
            help="The index whose entities the rows describe",
            width=320,
        )
    concept_or_index = "its concept" if edit.kind == Kind.INDEX else "its index, or its concept"
    _window(form, f"As {concept_or_index}")
    form.code(
        "SQL",
        fields,
        "sql",
        language="sql",
        schema=readable_tables(app, catalog, edit.concept),
        names=["index_values"],
        problems=problems(faults, "sql"),
        height=TALL,
    )
    st.caption(
        "One SELECT statement. It can read source tables and other definitions (`always_on`, "
        "`device.devices`). `IN (:index_values)` restricts it to the entities of the index."
    )


# --- concepts ------------------------------------------------------------------------------------
def concept(app: App, catalog: Catalog, form: Form, faults: tuple[Fault, ...]) -> None:
    """The labels of a concept, and the label that it refines."""
    edit = form.edit
    values = edit.fields["values"]
    form.choice(
        "Refines",
        choices.refinable_labels(catalog, edit.name),
        edit.fields,
        "refines",
        none="None",
        help="The label of another concept. This concept labels the entities with that label.",
        width=420,
    )
    _refresh(app, form)
    _window(form, "Everything tracked")
    st.markdown("**Labels**, in order of class number")
    for at, value in enumerate(values):
        _label(form, values, at, value)
    form.button(
        "Add a label",
        lambda: values.append({"name": "", "description": "", "parent": ""}),
        "add label",
        icon=":material/add:",
    )
    if values:
        st.markdown("**Label tree**")
        st.code("\n".join(tree_lines(values)), language=None)
    else:
        st.info("A concept needs labels. Add the first one.", icon=":material/label:")


def _refresh(app: App, form: Form) -> None:
    """When the concept's assets are computed after their data changed."""
    fields = form.edit.fields
    with st.container(horizontal=True, vertical_alignment="bottom"):
        form.pick(
            "Refresh",
            {
                "": f"As for all concepts ({app.settings.refresh_default})",
                "on change": "On change",
                "every": "At most every ...",
                "cron": "At set times (cron)",
                "by hand": "By hand",
            },
            fields,
            "refresh",
            help="When its definitions are computed after their data changed. Changed definitions "
            "are computed at once, unless it is by hand.",
            width=320,
        )
        if fields["refresh"] == "every":
            form.number("Number", fields, "refresh_number", min_value=1, step=1, width=120)
            units = {unit: f"{unit}s" for unit in UNITS}
            form.pick("Unit", units, fields, "refresh_unit", width=140)
        elif fields["refresh"] == "cron":
            form.text(
                "Schedule",
                fields,
                "refresh_cron",
                help="Minute, hour, day of the month, month, day of the week, in "
                f"{app.settings.timezone}. 0 4 * * 1-5 is at 4:00 on weekdays.",
                width=200,
            )


def _window(form: Form, default: str) -> None:
    """The part of the log that SQL reads."""
    fields = form.edit.fields
    with st.container(horizontal=True, vertical_alignment="bottom"):
        form.pick(
            "Window",
            {
                "": default,
                **({} if form.edit.kind == Kind.CONCEPT else {"everything": "Everything tracked"}),
                "weeks": "The last weeks",
                "term": "The term",
            },
            fields,
            "window",
            help="The part of the log that is read: all of it, the weeks up to the end of the log, "
            "or the term of the calendar in which it ends.",
            width=320,
        )
        if fields["window"] == "weeks":
            form.number(
                "Weeks",
                fields,
                "window_weeks",
                min_value=1,
                max_value=MAX_WEEKS,
                step=1,
                width=120,
            )


def _label(form: Form, values: list[dict[str, str]], at: int, value: dict[str, str]) -> None:
    shown: Literal["visible", "collapsed"] = "visible" if at == 0 else "collapsed"
    columns = st.columns([3, 5, 3, 2], vertical_alignment="bottom" if at == 0 else "center")
    number = at + 1
    with columns[0]:
        form.text(f"Label {number}", value, "name", "label", at, label_visibility=shown)
    with columns[1]:
        form.text(
            f"Description of label {number}" if at else "Description",
            value,
            "description",
            "label",
            at,
            label_visibility=shown,
        )
    others = [v["name"] for v in values if v is not value and v["name"]]
    with columns[2]:
        form.choice(
            f"Label {number} refines" if at else "Refines",
            others,
            value,
            "parent",
            "label",
            at,
            none="-",
            label_visibility=shown,
        )
    with columns[3], st.container(horizontal=True, gap="small"):
        up, remove = partial(_up, values, at), partial(values.pop, at)
        form.icon_button("arrow_upward", up, f"Move label {number} up", "up", at)
        form.icon_button("close", remove, f"Remove label {number}", "remove", at)


def _up(values: list[dict[str, str]], at: int) -> None:
    if at:
        values.insert(at - 1, values.pop(at))


# --- label models --------------------------------------------------------------------------------
def label_model(app: App, catalog: Catalog, form: Form, faults: tuple[Fault, ...]) -> None:
    """Functions, labels and settings of a label model."""
    edit = form.edit
    fields = edit.fields
    options = choices.index_choices(catalog, edit.concept, fields["index"])
    form.choice("Index", options, fields, "index", width=320)
    form.choices(
        "Labelling functions (at least three)",
        choices.function_choices(
            catalog, edit.concept, fields["index"], fields["labelling_functions"]
        ),
        fields,
        "labelling_functions",
        placeholder="Choose" if fields["index"] else "Choose an index first",
    )
    form.choices(
        "Labels",
        choices.labels_of_concept(catalog, edit.concept),
        fields,
        "labels",
        placeholder="All labels that its functions vote for",
    )
    _balance(catalog, form)
    with st.expander("Training"), st.container(horizontal=True):
        form.number("Epochs", fields, "epochs", min_value=1, max_value=100_000, width=160)
        form.number(
            "Learning rate", fields, "learning_rate", min_value=0.0, format="%.4f", width=160
        )
        form.number("L2", fields, "l2", min_value=0.0, format="%.4f", width=160)
        form.number("Seed", fields, "seed", step=1, width=160)


def _balance(catalog: Catalog, form: Form) -> None:
    fields = form.edit.fields
    form.radio(
        "Class balance: how common each label is before any vote",
        {"equal": "Equal", "shares": "Set shares", "gold": "From gold labels"},
        fields,
        "balance",
    )
    if fields["balance"] != "shares":
        return
    labels = choices.planned_labels(
        catalog, form.edit.concept, fields["labelling_functions"], fields["labels"]
    )
    shares = fields["shares"]
    for label in labels:
        shares.setdefault(label, round(1 / len(labels), 4))
    for label in [label for label in shares if label not in labels]:
        del shares[label]
    with st.container(horizontal=True):
        for label in labels:
            form.number(label, shares, label, min_value=0.0, max_value=1.0, step=0.05, width=160)
    total = sum(shares.values())
    if shares and abs(total - 1) > 1e-6:
        st.warning(
            f"The shares add up to {total:.4g}; they must add up to 1.", icon=":material/balance:"
        )


# --- derived indexes -----------------------------------------------------------------------------
def derived_index(app: App, catalog: Catalog, form: Form, faults: tuple[Fault, ...]) -> None:
    """Which entities of its parent a derived index keeps."""
    edit = form.edit
    fields = edit.fields
    with st.container(horizontal=True):
        form.choice(
            "Parent index",
            choices.index_choices(catalog, edit.concept, fields["parent"]),
            fields,
            "parent",
            width=320,
        )
        form.choice(
            "Label model",
            choices.choices(catalog, (Kind.LABEL_MODEL,), edit.concept, [fields["label_model"]]),
            fields,
            "label_model",
            width=320,
        )
    form.choices(
        "Labels",
        choices.labels_from(catalog, fields["label_model"], edit.concept),
        fields,
        "labels",
        placeholder="Any label",
    )
    form.toggle(
        "Require a minimum confidence",
        fields,
        "by_confidence",
        help="If off, entities pass whatever the confidence of their label.",
    )
    if fields["by_confidence"]:
        form.slider(
            "Minimum confidence (probability of the label)",
            fields,
            "minimum_confidence",
            min_value=0.0,
            max_value=1.0,
            step=0.01,
        )
    form.toggle("Include entities without a label", fields, "include_unlabelled")


# --- kinds without a form ------------------------------------------------------------------------
def as_text(app: App, catalog: Catalog, form: Form, faults: tuple[Fault, ...]) -> None:
    """The fields of a body as YAML."""
    form.area("Fields as YAML", form.edit.fields, "yaml", height=TALL)
    if form.edit.base is not None and "cannot" in catalog.problems.get(form.edit.ref, ""):
        st.caption("Fix the fields here and save, or restore an earlier version.")


FormOf = Callable[[App, Catalog, Form, tuple[Fault, ...]], None]

FORMS: dict[Kind, FormOf] = {
    Kind.CONCEPT: concept,
    Kind.INDEX: sql,
    Kind.RULE: sql,
    Kind.FEATURE: sql,
    Kind.LABEL_MODEL: label_model,
    Kind.DERIVED_INDEX: derived_index,
    Kind.CLASSIFIER: models.classifier,
    Kind.LABELLED_OCCUPANCY: models.labelled_occupancy,
    Kind.PEOPLE_COUNT: models.people_count,
    Kind.FORECASTER: models.forecaster,
}
