"""The forms of classifiers, labelled occupancy, people counts and forecasters."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.definitions import choices
from streamlit_app.services.definitions import preview_models as service
from streamlit_app.services.definitions.edit import Edit
from streamlit_app.services.definitions.validation import Fault
from streamlit_app.ui.cached import space_tree
from streamlit_app.ui.messages import plain
from streamlit_app.ui.space_picker import full_name, large, matches
from streamlit_app.views.definitions.binding import Form
from streamlit_app.views.definitions.words import share
from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import CLASSIFIER_MODELS, Kind
from tippers_dagster.forecasting.names import ALWAYS
from tippers_dagster.platform.text import counted

Faults = tuple[Fault, ...]

METRICS = {
    "macro_f1": "Macro F1",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "log_loss": "Log loss (lower is better)",
}
RATIOS = {
    "constant": "One for all times",
    "hour": "Per hour of the day",
    "level": "Per occupancy level",
    "hour_and_level": "Per hour and level",
}


def model_name(name: str) -> str:
    """A model's name on the page: ``seasonal naive``."""
    return name.replace("_", " ")


def width_name(seconds: int) -> str:
    """A bin width in words."""
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds % size == 0:
            return counted(seconds // size, word)
    return f"{seconds} seconds"


# --- classifiers ---------------------------------------------------------------------------------
def classifier(app: App, catalog: Catalog, form: Form, faults: Faults) -> None:
    """What a classifier learns from, how it is trained, and when a new version is promoted."""
    edit, fields = form.edit, form.edit.fields
    with st.container(horizontal=True):
        options = choices.index_choices(catalog, edit.concept, fields["index"])
        form.choice(
            "Index",
            options,
            fields,
            "index",
            help="The entities whose labels it predicts",
            width=320,
        )
        form.choice(
            "Label model",
            choices.choices(catalog, (Kind.LABEL_MODEL,), edit.concept, [fields["label_model"]]),
            fields,
            "label_model",
            help="The classifier learns its confident labels",
            width=320,
        )
    form.choices(
        "Features (of this index or one it is derived from)",
        choices.feature_choices(catalog, edit.concept, fields["index"], fields["features"]),
        fields,
        "features",
        placeholder="Choose" if fields["index"] else "Choose an index first",
    )
    _confidence(form)
    form.choices(
        "Models to compare",
        CLASSIFIER_MODELS,
        fields,
        "models",
        format_func=model_name,
        placeholder=f"All {len(CLASSIFIER_MODELS)}",
    )
    _promotion(form)
    with st.expander("Training"), st.container(horizontal=True):
        _training(form)


def _confidence(form: Form) -> None:
    fields = form.edit.fields
    form.radio(
        "Confidence measure",
        {"probability": "Highest probability", "entropy": "1 minus normalised entropy"},
        fields,
        "threshold_method",
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        form.slider(
            *("Minimum confidence", fields, "threshold"),
            min_value=0.0,
            max_value=1.0,
            step=0.01,
            width=420,
        )
        form.number(
            "Minimum entities per label",
            fields,
            "minimum_per_class",
            min_value=1,
            step=1,
            help="The minimum confidence is lowered step by step until every label has this many",
            width=200,
        )


def _training(form: Form) -> None:
    fields = form.edit.fields
    form.number(
        "Imbalance cap",
        fields,
        "imbalance_cap",
        min_value=1.0,
        step=0.5,
        help="No label has more than this many times the entities of the rarest label",
        width=200,
    )
    form.number(
        "Held-out share",
        fields,
        "test_share",
        min_value=0.01,
        max_value=0.99,
        step=0.05,
        help="Share of entities kept out of training, on which every version is scored",
        width=200,
    )
    form.number(
        *("Folds", fields, "folds"),
        min_value=2,
        max_value=20,
        step=1,
        help="Folds of the cross-validation",
        width=160,
    )
    form.number("Seed", fields, "seed", min_value=0, step=1, width=160)


def _promotion(form: Form) -> None:
    fields = form.edit.fields
    with st.container(horizontal=True):
        form.pick("Promote a new version by", METRICS, fields, "promotion_metric", width=320)
        form.number(
            "Minimum gain",
            fields,
            "promotion_margin",
            min_value=0.0,
            step=0.005,
            format="%.4f",
            help="How much better it must score than the champion on the same held-out entities. "
            "0: any gain.",
            width=200,
        )


def training_entities(app: App, catalog: Catalog, edit: Edit) -> None:
    """How many entities of each label the classifier would learn from."""
    found = service.preview_classifier(app, catalog, edit)
    training = sum(found.training.values())
    st.markdown(
        f"{found.labelled:,} of {counted(found.entities, 'entity', 'entities')} have a label. "
        f"With a minimum confidence of **{found.threshold:g}**, the classifier would be trained on "
        f"**{training:,}** and scored on {sum(found.held_out.values()):,}."
    )
    if found.lowered:
        st.warning(
            f"The minimum confidence was lowered from {found.steps[0].threshold:g} to "
            f"{found.threshold:g}: at {found.steps[0].threshold:g}, some labels have too few "
            "entities.",
            icon=":material/trending_down:",
        )
    first, last = found.steps[0], found.steps[-1]
    table = [
        {
            "Label": label,
            f"Confidence ≥ {first.threshold:g}": first.counts[at],
            **({f"Confidence ≥ {last.threshold:g}": last.counts[at]} if found.lowered else {}),
            "Training": found.training[label],
            "Held out": found.held_out[label],
        }
        for at, label in enumerate(found.labels)
    ]
    st.dataframe(table, hide_index=True)


# --- labelled occupancy and people counts --------------------------------------------------------
def labelled_occupancy(app: App, catalog: Catalog, form: Form, faults: Faults) -> None:
    """The labels by which occupancy is split."""
    fields = form.edit.fields
    options = choices.device_label_sources(catalog, fields["by"])
    form.choice("Split by labels of", options, fields, "by", width=420, help=_BY)
    if not options:
        st.info(
            "No label model or classifier labels devices yet. Create one first.",
            icon=":material/label:",
        )


_BY = "A label model or classifier that labels devices"


def people_count(app: App, catalog: Catalog, form: Form, faults: Faults) -> None:
    """The devices that stand for people, and the ratio of people to devices."""
    fields = form.edit.fields
    options = choices.device_label_sources(catalog, fields["by"])
    form.choice(
        "Count devices by labels of",
        options,
        fields,
        "by",
        none="None: count all devices",
        width=420,
        help=_BY,
    )
    if fields["by"]:
        form.choices(
            "Labels that stand for people",
            choices.labels_from(catalog, fields["by"]),
            fields,
            "labels",
            placeholder="Choose, such as PHONE",
        )
    form.radio("People per device, learned from head counts", RATIOS, fields, "ratio")
    form.slider(
        "Confidence level",
        fields,
        "confidence",
        min_value=0.5,
        max_value=0.99,
        step=0.01,
        help="Share of bins in which the interval should contain the true number of people",
    )
    st.caption(
        "Without head counts (`tippers calibrate`), each device counts as one person and there is "
        "no interval."
    )


def device_labels(app: App, catalog: Catalog, edit: Edit) -> None:
    """The number of devices per label."""
    found = service.preview_device_labels(app, catalog, edit)
    if found is None:
        st.markdown("All devices are counted.")
        return
    total = sum(found.devices.values()) + found.unlabelled
    if edit.kind == Kind.PEOPLE_COUNT:
        people = sum(found.devices.get(label, 0) for label in edit.fields["labels"])
        st.markdown(
            f"**{people:,}** of the {counted(total, 'device')} labelled by "
            f"{plain(str(found.source))} stand for people ({share(people, total)})."
        )
    else:
        st.markdown(f"{counted(total, 'device')}, split by {plain(str(found.source))}:")
    table = [
        {"Label": label, "Devices": number, "Share": share(number, total)}
        for label, number in (*found.devices.items(), ("no label", found.unlabelled))
    ]
    st.dataframe(table, hide_index=True)


# --- forecasters ---------------------------------------------------------------------------------
def forecaster(app: App, catalog: Catalog, form: Form, faults: Faults) -> None:
    """The spaces, history and horizon of the forecasts, and the models to compare."""
    fields = form.edit.fields
    _spaces(app, form)
    with st.container(horizontal=True):
        counts = {"devices": "Devices", "people": "People"}
        form.pick("Forecast", counts, fields, "counts", width=160)
        widths = {width: width_name(width) for width in PUBLISHED_WIDTHS}
        form.pick("Bin width", widths, fields, "interval_seconds", width=160)
        form.number(
            *("Days ahead", fields, "horizon_days"), min_value=1, max_value=92, step=1, width=160
        )
        form.number(
            *("Days of history", fields, "history_days"),
            min_value=21,
            max_value=3660,
            step=7,
            help="The most that is used; a shorter history is used in full",
            width=160,
        )
        form.number(
            "Backtest windows",
            fields,
            "windows",
            min_value=1,
            max_value=26,
            step=1,
            help="Number of past periods that are forecast and compared with the actual occupancy",
            width=180,
        )
        form.number("Seed", fields, "seed", min_value=0, step=1, width=140)
    models = service.forecast_models()
    form.choices(
        "Models",
        models,
        fields,
        "models",
        format_func=model_name,
        placeholder=f"All {len(models)}",
    )
    always = ", ".join(model_name(name) for name in ALWAYS)
    st.caption(
        f"Baselines always included: {always}. Each space is forecast with the model that does "
        "best in its backtest."
    )


def _spaces(app: App, form: Form) -> None:
    fields = form.edit.fields
    tree = space_tree(app.settings)
    search = st.text_input(
        "Find spaces",
        key=f"definitions/{form.name}/find spaces",
        placeholder="Name, room or id",
        disabled=form.locked,
        width=420,
    )
    found = matches(tree, search) or large(tree)
    if search.strip() and not matches(tree, search):
        st.caption("No space matches; the largest spaces are listed below.")
    form.choices(
        "Spaces",
        found,
        fields,
        "spaces",
        format_func=lambda space: full_name(tree, space) if space in tree else f"{space} (unknown)",
        placeholder="The campus and the spaces directly inside it",
    )
    form.toggle("Include all tracked spaces inside them", fields, "below")


def forecast_scope(app: App, catalog: Catalog, edit: Edit) -> None:
    """How many spaces the forecaster covers, and how long their history is."""
    tree = space_tree(app.settings)
    found = service.preview_forecaster(app, catalog, edit, tree)
    st.markdown(
        f"**{counted(len(found.spaces), 'space')}**, each with "
        f"{counted(found.days, 'day')} of history ({counted(found.bins, 'bin')}) and "
        f"{counted(found.horizon_bins, 'bin')} to forecast."
    )
    if found.days < found.wanted_days:
        st.caption(
            f"Fewer than the {found.wanted_days:,} days set: only {found.days:,} are available."
        )
