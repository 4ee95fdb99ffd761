"""The forms of classifiers, labelled occupancy, counts of people and forecasters."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import definition_forms as forms
from streamlit_app.services import definition_models as service
from streamlit_app.services import definition_preview as previews
from streamlit_app.services.app import App
from streamlit_app.services.definition_forms import Work
from streamlit_app.services.definition_preview import share
from streamlit_app.ui.cached import space_tree
from streamlit_app.ui.messages import plain
from streamlit_app.ui.space_picker import full_name, large, matches
from streamlit_app.views.definitions.binding import Form
from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import CLASSIFIER_MODELS, Kind
from tippers_dagster.forecasting.names import ALWAYS

Faults = tuple[previews.Fault, ...]

METRICS = {
    "macro_f1": "Macro F1",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "log_loss": "Log loss (less is better)",
}
RATIOS = {
    "constant": "One ratio",
    "hour": "By hour",
    "level": "By level of occupancy",
    "hour_and_level": "By hour and level",
}


def model_name(name: str) -> str:
    """A model as people call it: ``seasonal naive``."""
    return name.replace("_", " ")


def width_name(seconds: int) -> str:
    """A width of bins in words."""
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds % size == 0:
            number = seconds // size
            return f"{number} {word}{'' if number == 1 else 's'}"
    return f"{seconds} seconds"


# --- classifiers ---------------------------------------------------------------------------------
def classifier(app: App, catalog: Catalog, form: Form, faults: Faults) -> None:
    """What a classifier learns from, how, and when a new version takes over."""
    work, fields = form.work, form.work.fields
    with st.container(horizontal=True):
        options = forms.index_choices(catalog, work.concept, fields["index"])
        form.choice("Index", options, fields, "index", help="Whose labels it predicts.", width=320)
        form.choice(
            "Label model",
            forms.choices(catalog, (Kind.LABEL_MODEL,), work.concept, [fields["label_model"]]),
            fields,
            "label_model",
            help="Its confident labels are what is learned.",
            width=320,
        )
    form.choices(
        "Features (of this index, or of one that it is derived from)",
        forms.feature_choices(catalog, work.concept, fields["index"], fields["features"]),
        fields,
        "features",
        placeholder="Choose" if fields["index"] else "Choose an index first",
    )
    _confidence(form)
    form.choices(
        "Models of the bank",
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
    fields = form.work.fields
    form.radio(
        "How sure a label must be",
        {"probability": "Largest probability", "entropy": "One minus normalised entropy"},
        fields,
        "threshold_method",
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        form.slider(
            *("Threshold", fields, "threshold"), min_value=0.0, max_value=1.0, step=0.01, width=420
        )
        form.number(
            "At least of each label",
            fields,
            "minimum_per_class",
            min_value=1,
            step=1,
            help="The threshold is lowered step by step until every label has so many entities.",
            width=200,
        )


def _training(form: Form) -> None:
    fields = form.work.fields
    form.number(
        "Most of the smallest class",
        fields,
        "imbalance_cap",
        min_value=1.0,
        step=0.5,
        help="A class is cut to so many times the smallest.",
        width=200,
    )
    form.number(
        "Share held out",
        fields,
        "test_share",
        min_value=0.01,
        max_value=0.99,
        step=0.05,
        help="Of the entities; no version is trained on them.",
        width=200,
    )
    form.number(
        *("Folds", fields, "folds"),
        min_value=2,
        max_value=20,
        step=1,
        help="Of the cross-validation.",
        width=160,
    )
    form.number("Seed", fields, "seed", min_value=0, step=1, width=160)


def _promotion(form: Form) -> None:
    fields = form.work.fields
    with st.container(horizontal=True):
        form.pick("A new version takes over by", METRICS, fields, "promotion_metric", width=320)
        form.number(
            "When it wins by",
            fields,
            "promotion_margin",
            min_value=0.0,
            step=0.005,
            format="%.4f",
            help="On the same held-out entities. 0: any gain will do.",
            width=200,
        )


def confident(app: App, catalog: Catalog, work: Work) -> None:
    """How many entities of each label it would learn from."""
    found = service.confident(app, catalog, work)
    trained = sum(found.trained.values())
    st.markdown(
        f"Of {found.entities:,} entities {found.labelled:,} have a label; it would be trained on "
        f"**{trained:,}** of them and judged on {sum(found.judged.values()):,}, with a threshold "
        f"of **{found.threshold:g}**."
    )
    if found.lowered:
        st.warning(
            f"The threshold was lowered from {found.steps[0].threshold:g} in "
            f"{len(found.steps) - 1} steps: at it there were too few of some label.",
            icon=":material/trending_down:",
        )
    first, last = found.steps[0], found.steps[-1]
    table = [
        {
            "Label": label,
            f"Confident at {first.threshold:g}": first.counts[at],
            **({f"At {last.threshold:g}": last.counts[at]} if found.lowered else {}),
            "Trained on": found.trained[label],
            "Held out": found.judged[label],
        }
        for at, label in enumerate(found.labels)
    ]
    st.dataframe(table, hide_index=True)


# --- labelled occupancy and people ---------------------------------------------------------------
def labelled_occupancy(app: App, catalog: Catalog, form: Form, faults: Faults) -> None:
    """By whose labels occupancy is split."""
    fields = form.work.fields
    options = forms.device_labels(catalog, fields["by"])
    form.choice("Split by the labels of", options, fields, "by", width=420, help=_BY)
    if not options:
        st.info(
            "There is no label model or classifier of devices yet: make one first.",
            icon=":material/label:",
        )


_BY = "A label model or classifier whose entities are devices."


def people_count(app: App, catalog: Catalog, form: Form, faults: Faults) -> None:
    """Which devices stand for people, and the ratio between the two."""
    fields = form.work.fields
    options = forms.device_labels(catalog, fields["by"])
    form.choice(
        "Count the devices by the labels of",
        options,
        fields,
        "by",
        none="No labels: all devices",
        width=420,
        help=_BY,
    )
    if fields["by"]:
        form.choices(
            "Labels that stand for people",
            forms.labels_given(catalog, fields["by"]),
            fields,
            "labels",
            placeholder="Choose, such as PHONE",
        )
    form.radio("People per such device, as learned from head counts", RATIOS, fields, "ratio")
    form.slider(
        "Confidence of the interval",
        fields,
        "confidence",
        min_value=0.5,
        max_value=0.99,
        step=0.01,
        help="The share of bins whose true number of people is to lie within.",
    )
    st.caption(
        "Until head counts are given (`tippers calibrate`), a device is one person and there is "
        "no interval."
    )


def devices(app: App, catalog: Catalog, work: Work) -> None:
    """How the devices fall to the labels."""
    found = service.split(app, catalog, work)
    if found is None:
        st.markdown("Every device counts.")
        return
    total = sum(found.devices.values()) + found.unlabelled
    if work.kind == Kind.PEOPLE_COUNT:
        counted = sum(found.devices.get(label, 0) for label in work.fields["labels"])
        st.markdown(
            f"**{counted:,}** of the {total:,} devices of {plain(str(found.by))} stand for people "
            f"({share(counted, total)})."
        )
    else:
        st.markdown(f"The occupancy of {total:,} devices is split by {plain(str(found.by))}.")
    table = [
        {"Label": label, "Devices": number, "Share": share(number, total)}
        for label, number in (*found.devices.items(), ("without a label", found.unlabelled))
    ]
    st.dataframe(table, hide_index=True)


# --- forecasters ---------------------------------------------------------------------------------
def forecaster(app: App, catalog: Catalog, form: Form, faults: Faults) -> None:
    """The spaces, the history and the horizon of forecasts, and the models that compete."""
    fields = form.work.fields
    _spaces(app, form)
    with st.container(horizontal=True):
        widths = {width: width_name(width) for width in PUBLISHED_WIDTHS}
        form.pick("Bins", widths, fields, "interval_seconds", width=160)
        form.number(
            *("Days ahead", fields, "horizon_days"), min_value=1, max_value=92, step=1, width=160
        )
        form.number(
            *("Days of history", fields, "history_days"),
            min_value=21,
            max_value=3660,
            step=7,
            help="At most: of a shorter one, all.",
            width=160,
        )
        form.number(
            "Backtest windows",
            fields,
            "windows",
            min_value=1,
            max_value=26,
            step=1,
            help="Pasts from which the days ahead are forecast, to be compared with what came.",
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
    st.caption(f"Beside them always: {always}. Of each space, the best in the backtest forecasts.")


def _spaces(app: App, form: Form) -> None:
    fields = form.work.fields
    tree = space_tree(app.settings)
    search = st.text_input(
        "Find spaces",
        key=f"definitions/{form.name}/find spaces",
        placeholder="name, room or id; the largest are listed below",
        disabled=form.locked,
        width=420,
    )
    found = matches(tree, search) or large(tree)
    if search.strip() and not matches(tree, search):
        st.caption("No space has this in its name, room or id.")
    form.choices(
        "Spaces",
        found,
        fields,
        "spaces",
        format_func=lambda space: full_name(tree, space) if space in tree else f"{space} (gone)",
        placeholder="The campus, and what is directly below it",
    )
    form.toggle("All tracked spaces below these, too", fields, "below")


def covered(app: App, catalog: Catalog, work: Work) -> None:
    """How many spaces it covers, and how long their history is."""
    tree = space_tree(app.settings)
    found = service.scope(app, catalog, work, tree)
    number = len(found.spaces)
    st.markdown(
        f"**{number:,} space{'' if number == 1 else 's'}** with {found.days:,} days of history "
        f"each ({found.bins:,} bins), and {found.horizon_bins:,} bins to forecast."
    )
    if found.days < found.wanted_days:
        st.caption(f"Up to {found.wanted_days:,} days are asked for; there are {found.days:,}.")
