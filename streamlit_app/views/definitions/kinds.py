"""The forms of definitions, but for labelling functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import streamlit as st

from streamlit_app.services import definition_forms as forms
from streamlit_app.services import definition_preview as previews
from streamlit_app.services.app import App
from streamlit_app.services.definition_forms import Work
from streamlit_app.ui.editor import Problem
from streamlit_app.ui.messages import plain
from streamlit_app.views.definitions import models
from streamlit_app.views.definitions.binding import Form
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.checking import INDEXES
from tippers_dagster.catalog.kinds import Kind

TALL = 260


def problems(faults: tuple[previews.Fault, ...], field: str, condition: int = 0) -> list[Problem]:
    """The faults of one text, for its editor."""
    return [
        Problem(f.line, f.column, f"{f.message} {f.hint}".strip(), "error")
        for f in faults
        if f.field == field and f.condition == condition
    ]


# --- SQL -----------------------------------------------------------------------------------------
def sql(app: App, catalog: Catalog, form: Form, faults: tuple[previews.Fault, ...]) -> None:
    """An index, a rule or a feature."""
    work = form.work
    fields = work.fields
    if work.kind == Kind.INDEX:
        form.text("Key column", fields, "key", help="It tells whose row it is.", width=320)
    else:
        options = forms.index_choices(catalog, work.concept, fields["index"])
        form.choice("Index", options, fields, "index", help="Whose metrics these are.", width=320)
    form.code(
        "SQL",
        fields,
        "sql",
        language="sql",
        schema=previews.readable_tables(app, catalog, work.concept),
        names=["index_values"],
        problems=problems(faults, "sql"),
        height=TALL,
    )
    st.caption(
        "One SELECT. Tables are those of the source and of definitions (`always_on`, "
        "`device.devices`); `IN (:index_values)` means the entities of the index."
    )


# --- concepts ------------------------------------------------------------------------------------
def concept(app: App, catalog: Catalog, form: Form, faults: tuple[previews.Fault, ...]) -> None:
    """The labels of a concept, and the label that it refines."""
    work = form.work
    values = work.fields["values"]
    form.choice(
        "Refines",
        forms.refinable(catalog, work.name),
        work.fields,
        "refines",
        none="Nothing: a concept of its own",
        help="The label of another concept whose entities this one labels further.",
        width=420,
    )
    st.markdown("**Labels**, in the order of their class numbers")
    for at, value in enumerate(values):
        _label(form, values, at, value)
    form.button(
        "Add a label",
        lambda: values.append({"name": "", "description": "", "parent": ""}),
        "add label",
        icon=":material/add:",
    )
    if values:
        st.markdown("**The tree**")
        st.code("\n".join(forms.tree_lines(values)), language=None)
    else:
        st.info("A concept needs labels: add the first.", icon=":material/label:")


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
        form.button(
            "",
            partial(_up, values, at),
            "up",
            at,
            icon=":material/arrow_upward:",
            type="tertiary",
            help=f"Move label {number} up",
        )
        form.button(
            "",
            partial(values.pop, at),
            "remove",
            at,
            icon=":material/close:",
            type="tertiary",
            help=f"Remove label {number}",
        )


def _up(values: list[dict[str, str]], at: int) -> None:
    if at:
        values.insert(at - 1, values.pop(at))


# --- label models --------------------------------------------------------------------------------
def label_model(app: App, catalog: Catalog, form: Form, faults: tuple[previews.Fault, ...]) -> None:
    """Functions, labels and settings of a label model."""
    work = form.work
    fields = work.fields
    options = forms.index_choices(catalog, work.concept, fields["index"])
    form.choice("Index", options, fields, "index", width=320)
    form.choices(
        "Labelling functions (three or more, of this index)",
        forms.function_choices(
            catalog, work.concept, fields["index"], fields["labelling_functions"]
        ),
        fields,
        "labelling_functions",
        placeholder="Choose" if fields["index"] else "Choose an index first",
    )
    form.choices(
        "Labels",
        forms.labels_of(catalog, work.concept),
        fields,
        "labels",
        placeholder="All that its functions vote for",
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
    fields = form.work.fields
    form.radio(
        "Class balance: how common the labels are before any vote",
        {"alike": "All alike", "shares": "Shares", "gold": "From the gold labels"},
        fields,
        "balance",
    )
    if fields["balance"] != "shares":
        return
    labels = forms.model_labels(catalog, form.work)
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
            f"The shares add up to {total:.4g}, and must add up to 1.", icon=":material/balance:"
        )


# --- derived indexes -----------------------------------------------------------------------------
def derived_index(
    app: App, catalog: Catalog, form: Form, faults: tuple[previews.Fault, ...]
) -> None:
    """What a derived index takes of its parent."""
    work = form.work
    fields = work.fields
    with st.container(horizontal=True):
        form.choice(
            "Parent index",
            forms.choices(catalog, INDEXES, work.concept, [fields["parent"]]),
            fields,
            "parent",
            width=320,
        )
        form.choice(
            "Label model",
            forms.choices(catalog, (Kind.LABEL_MODEL,), work.concept, [fields["label_model"]]),
            fields,
            "label_model",
            width=320,
        )
    form.choices(
        "Labels", _labels_of_model(catalog, work), fields, "labels", placeholder="Any label"
    )
    form.toggle(
        "Only from a confidence on",
        fields,
        "by_confidence",
        help="Else the label decides, however sure the label model is.",
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
    form.toggle("Entities without a label pass, too", fields, "include_unlabelled")


def _labels_of_model(catalog: Catalog, work: Work) -> list[str]:
    model = forms.find(catalog, work.fields["label_model"], work.concept)
    if model is None or model.ref.kind != Kind.LABEL_MODEL or model.ref in catalog.problems:
        return []
    return list(catalog.model_labels(model.ref))


# --- what has no form ----------------------------------------------------------------------------
def as_text(app: App, catalog: Catalog, form: Form, faults: tuple[previews.Fault, ...]) -> None:
    """The fields of a body as YAML."""
    form.area("Fields, as YAML", form.work.fields, "yaml", height=TALL)
    if form.work.base is not None and "cannot" in catalog.problems.get(form.work.ref, ""):
        st.caption(plain("Mend the fields here and save, or restore an earlier version."))


FormOf = Callable[[App, Catalog, Form, tuple[previews.Fault, ...]], None]

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
