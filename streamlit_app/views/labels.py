"""What label models gave, how good it is, and why an entity has its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal
from zoneinfo import ZoneInfo

import altair as alt
import pandas as pd
import streamlit as st

from streamlit_app.services import labels as service
from streamlit_app.services.app import App
from streamlit_app.services.labels import Entity, Score, Summary
from streamlit_app.ui import pages, state
from streamlit_app.ui.messages import plain, tell, told
from streamlit_app.ui.theme import is_dark
from streamlit_app.views import labels_compared
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import TippersError
from tippers_dagster.labelling.evaluate import Evaluation
from tippers_dagster.labelling.why import Explanation, FunctionVote
from tippers_dagster.platform.dagster.addresses import asset_link, mlflow_home, run_link

SECTIONS = ("Distribution", "Functions", "Gold labels", "Compare", "Entities", "Label by hand")
OF_ANALYSTS = ("Entities", "Label by hand")
_QUEUE = 20
_FUNCTION_FIELDS = {
    "labelling function": "Labelling function",
    "polarity": "Votes for",
    "coverage": "Coverage",
    "overlaps": "Overlaps",
    "conflicts": "Conflicts",
    "learned weight": "Learned weight",
    "accuracy on gold": "Accuracy on gold",
    "correct": "Right on gold",
    "incorrect": "Wrong on gold",
}
_SKIPPED = "labels.skipped"
_UNDO = "labels.undo"


def render(app: App) -> None:
    """The page: ``?model=concept.name`` and ``?section=...``."""
    st.title("Labels")
    catalog = service.catalog_of(app)
    models = service.label_models(catalog)
    if not models:
        _none()
        return
    ref = _chosen(models)
    section = _section(app)
    with told():
        if section in OF_ANALYSTS:
            _PERSONAL[section](app, catalog, ref)
            return
        found = service.summary(app, ref)
        _head(app, found)
        if section == "Distribution":
            _distribution(found)
        elif section == "Functions":
            _functions(found)
        elif section == "Gold labels":
            _gold(app, found)
        else:
            labels_compared.show(app, models, ref)


def _none() -> None:
    with st.container(border=True):
        st.markdown(
            "**There is no label model yet.** It weighs the votes of three or more labelling "
            "functions; begin with a concept and its rules."
        )
        st.page_link(pages.page("definitions"), label="Definitions", icon=":material/edit_note:")


def _chosen(models: Sequence[Ref]) -> Ref:
    names = [str(ref) for ref in models]
    asked = state.get("model")
    at = names.index(asked) if asked in names else 0
    chosen = st.selectbox("Label model", names, index=at, key="labels.model", width=420)
    state.put(model=chosen)
    return models[names.index(chosen)]


def _section(app: App) -> str:
    shown = [s for s in SECTIONS if s not in OF_ANALYSTS or app.person.may(Role.ANALYST)]
    asked = state.get("section")
    chosen = st.segmented_control(
        "Section",
        shown,
        default=asked if asked in shown else shown[0],
        key="labels.section",
        label_visibility="collapsed",
        required=True,
    )
    section = str(chosen or shown[0])
    state.put(section=None if section == shown[0] else section)
    return section


def _head(app: App, found: Summary) -> None:
    zone = ZoneInfo(app.settings.timezone)
    when = found.materialized_at
    facts = [f"{found.entities:,} entities", f"{found.coverage:.1%} with a vote"]
    if when is not None:
        facts.append(f"computed {when.astimezone(zone):%Y-%m-%d %H:%M}")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(" · ".join(facts))
        _link("Asset", asset_link(app.settings, found.ref.asset_name))
        if found.run_id:
            _link("Run", run_link(app.settings, found.run_id))
        if found.mlflow_run:
            _link("MLflow", mlflow_home(app.settings), found.mlflow_run)


def _link(label: str, address: str, tip: str | None = None) -> None:
    st.link_button(label, address, icon=":material/open_in_new:", type="tertiary", help=tip)


# --- what it gave --------------------------------------------------------------------------------
def _distribution(found: Summary) -> None:
    counts = {label: n for label, n in found.classes.items() if n}
    total = sum(counts.values()) or 1
    most = max(counts, key=counts.__getitem__, default="")
    st.subheader("Labels")
    told_ = ", ".join(f"{k} {n:,} ({n / total:.1%})" for k, n in counts.items())
    bars = _bars(pd.DataFrame({"Label": counts.keys(), "Entities": counts.values()}))
    st.altair_chart(bars, alt=f"Entities by label: {told_}")
    if most:
        st.markdown(f"{plain(told_)}. The commonest is **{plain(most)}**.")
    st.subheader("Confidence")
    if not found.histogram:
        st.info("No entity has a label.", icon=":material/info:")
        return
    frame = pd.DataFrame(found.histogram, columns=["From", "Label", "Entities"])
    frame["To"] = frame["From"] + 1 / service.BINS
    sure = frame.loc[frame["From"] >= 0.9, "Entities"].sum()
    said = f"{sure:,} entities ({sure / total:.1%}) have a confidence of 0.9 or more."
    chart = alt.Chart(frame).mark_bar()
    st.altair_chart(
        chart.encode(
            x=alt.X("From:Q", title="Confidence", scale=alt.Scale(domain=[0, 1]), bin="binned"),
            x2="To:Q",
            y=alt.Y("Entities:Q", title="Entities"),
            color=alt.Color("Label:N", title=None, legend=alt.Legend(orient="top")),
            tooltip=["Label", "From", "To", "Entities"],
        ).properties(height=260),
        alt=f"Entities by confidence and label. {said}",
    )
    st.markdown(said)


def _bars(frame: pd.DataFrame) -> alt.Chart:
    chart = alt.Chart(frame).mark_bar()
    return chart.encode(
        x=alt.X("Entities:Q", title="Entities"),
        y=alt.Y("Label:N", title=None, sort=None),
        tooltip=["Label", "Entities"],
    ).properties(height=90 + 32 * len(frame))


def _functions(found: Summary) -> None:
    if not found.functions:
        st.info("Nothing is recorded of its labelling functions.", icon=":material/info:")
        return
    # The database keeps no order of fields; of those that are not known nothing is shown.
    frame = pd.DataFrame(list(found.functions)).reindex(columns=list(_FUNCTION_FIELDS))
    frame = frame.rename(columns=_FUNCTION_FIELDS).dropna(axis="columns", how="all")
    shares = ["Coverage", "Overlaps", "Conflicts", "Accuracy on gold"]
    st.dataframe(
        frame,
        hide_index=True,
        width="stretch",
        height=min(35 * len(frame) + 38, 738),
        column_config={
            "Learned weight": st.column_config.NumberColumn(format="%.3f"),
            **{name: st.column_config.NumberColumn(format="percent") for name in shares},
        },
    )
    st.caption(
        "Coverage: votes on this share of the entities. Overlaps: another votes too. Conflicts: "
        "another votes otherwise. Learned weight: how often it is right, by the label model; "
        "accuracy: by the gold labels."
    )


# --- how good it is ------------------------------------------------------------------------------
def _gold(app: App, found: Summary) -> None:
    good = service.evaluation(app, found.ref)
    if good is None:
        with st.container(border=True):
            st.markdown(
                f"**No entity of {plain(str(found.ref))} has a gold label.** Label some by hand, "
                "or import a file: `tippers gold import FILE`."
            )
        return
    _scores(good)
    left, right = st.columns(2)
    with left:
        st.subheader("Confusion")
        _confusion(good.labels, good.model.confusion.tolist())
    with right:
        st.subheader("Calibration")
        _calibration(good)
    _history(app, service.score_history(app, found.ref))


def _scores(good: Evaluation) -> None:
    ways = {
        "Label model": good.model,
        "Majority vote": good.majority_vote,
        "Commonest label": good.majority_class,
    }
    best = max(ways, key=lambda name: ways[name].accuracy)
    boxes = st.container(horizontal=True)
    for name, scores in ways.items():
        boxes.metric(
            f"{name}, accuracy",
            f"{scores.accuracy:.1%}",
            border=True,
            help=f"Macro F1 {scores.macro_f1:.3f}; labels for {scores.coverage:.1%}",
        )
    st.markdown(
        f"On {good.entities:,} gold labels. Best: **{best}** with {ways[best].accuracy:.1%}. "
        "An entity without a label counts as wrong."
    )


def _confusion(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> None:
    given = [*labels, "no label"][: len(confusion[0])] if confusion else list(labels)
    cells: list[dict[str, Any]] = [
        {"Gold": gold, "Given": label, "Entities": n}
        for gold, row in zip(labels, confusion, strict=False)
        for label, n in zip(given, row, strict=False)
    ]
    frame = pd.DataFrame(cells)
    base = alt.Chart(frame).encode(
        x=alt.X("Given:N", title="Label given", sort=None, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("Gold:N", title="Gold label", sort=None),
    )
    fill = base.mark_rect().encode(
        color=alt.Color("Entities:Q", legend=None), tooltip=["Gold", "Given", "Entities"]
    )
    # In the dark, many are light: what is written on them is dark then.
    many, few = ("#0a1213", "#e6eeee") if is_dark() else ("#ffffff", "#0a1213")
    half = frame["Entities"].max() / 2
    text = base.mark_text().encode(
        text="Entities:Q",
        color=alt.condition(alt.datum.Entities > half, alt.value(many), alt.value(few)),
    )
    wrong = [c for c in cells if c["Gold"] != c["Given"] and c["Entities"]]
    said = "Every one of them got its gold label."
    if wrong:
        worst = max(wrong, key=lambda c: int(c["Entities"]))
        said = (
            f"Most often wrong: of {worst['Gold']}, {worst['Entities']:,} were given "
            f"{worst['Given']}."
        )
    st.altair_chart((fill + text).properties(height=60 + 40 * len(labels)), alt=said)
    st.markdown(plain(said))


def _calibration(good: Evaluation) -> None:
    bins = [b for b in good.calibration if b.entities]
    if not bins:
        st.caption("None of these entities has a label.")
        return
    frame = pd.DataFrame([vars(b) for b in bins])
    points = alt.Chart(frame).mark_line(point=True)
    points = points.encode(
        x=alt.X("confidence:Q", title="Mean confidence", scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("accuracy:Q", title="Accuracy", scale=alt.Scale(domain=[0, 1])),
        tooltip=["entities", "confidence", "accuracy"],
    )
    diagonal = alt.Chart(pd.DataFrame({"confidence": [0, 1], "accuracy": [0, 1]}))
    diagonal = diagonal.mark_line(strokeDash=[4, 4], color="grey").encode(
        x="confidence:Q", y="accuracy:Q"
    )
    said = (
        f"Confidence and accuracy are {good.calibration_error:.3f} apart on average; on the dashed "
        "line they are equal."
    )
    st.altair_chart((diagonal + points).properties(height=240), alt=said)
    st.markdown(said)


def _history(app: App, history: Sequence[Score]) -> None:
    st.subheader("Materialisations")
    if not history:
        st.caption("None was scored yet: scores are taken when it is computed.")
        return
    zone = ZoneInfo(app.settings.timezone)
    rows = [
        {
            "Computed": s.at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
            "Gold labels": s.entities,
            "Accuracy": s.accuracy,
            "Macro F1": s.macro_f1,
            "Majority vote": s.majority_accuracy,
            "Calibration error": s.calibration_error,
            "Run": run_link(app.settings, s.run_id),
        }
        for s in history
    ]
    st.dataframe(
        rows,
        hide_index=True,
        width="stretch",
        column_config={"Run": st.column_config.LinkColumn(display_text=r"/runs/(.{8})")},
    )
    if len(history) > 1:
        new, old = history[0], history[1]
        st.markdown(
            f"Against the one before: accuracy {new.accuracy - old.accuracy:+.3f}, macro F1 "
            f"{new.macro_f1 - old.macro_f1:+.3f}, on {new.entities:,} and {old.entities:,} gold "
            "labels."
        )


# --- entities ------------------------------------------------------------------------------------
_CONFIDENCE = {"Confidence": st.column_config.NumberColumn(format="percent")}


def _entities(app: App, catalog: Catalog, ref: Ref) -> None:
    columns = st.columns([3, 2], vertical_alignment="bottom")
    text = columns[0].text_input("Key contains", value=state.get("q"), key="labels.q")
    options = ["", *catalog.model_labels(ref), "abstain", "tie"]
    asked = state.get("label")
    label = columns[1].selectbox(
        "Label",
        options,
        index=options.index(asked) if asked in options else 0,
        format_func=lambda option: option or "any",
        key="labels.label",
    )
    state.put(q=text, label=label)
    found = service.find(app, ref, text=text, label=label)
    with st.container(horizontal=True):
        _download(app, ref)
    if not found:
        st.info("No entity is like that.", icon=":material/search_off:")
        return
    chosen = st.dataframe(
        service.table_of(found).to_pandas(),
        hide_index=True,
        width="stretch",
        height=280,
        on_select="rerun",
        selection_mode="single-row",
        key=f"labels.entities {ref} {text} {label}",
        column_config=_CONFIDENCE,
    )
    rows = chosen["selection"]["rows"]
    key = found[rows[0]].key if rows and rows[0] < len(found) else state.get("entity")
    st.caption("The first fifty. Choose a row to see why it has its label.")
    if key:
        state.put(entity=key)
        _why(service.why(app, catalog, ref, key))


def _download(app: App, ref: Ref) -> None:
    with st.popover("Download all", icon=":material/download:"):
        kind: Literal["csv", "parquet"]
        for kind in ("csv", "parquet"):
            st.download_button(
                {"csv": "CSV", "parquet": "Parquet"}[kind],
                partial(service.export, app, ref, kind),
                file_name=f"{ref.concept}_{ref.name}.{kind}",
                mime=service.MIME[kind],
                key=f"labels download {kind}",
                on_click="ignore",
            )


def _why(found: Explanation) -> None:
    answer = found.label or {"abstain": "no function voted", "tie": "a tie"}.get(
        found.outcome, found.outcome
    )
    with st.container(border=True):
        st.markdown(f"**{plain(found.entity)}**: {plain(answer)}{_sure(found.confidence)}")
        known = {name: p for name, p in found.probabilities.items() if p is not None}
        facts = [f"before any vote {_listed(found.class_balance)}"]
        if known:
            facts.insert(0, f"posterior {_listed(known)}")
        facts.append(f"majority vote {plain(found.majority_label or 'none')}")
        if found.gold_label:
            facts.append(f"gold label {plain(found.gold_label)}")
        st.caption(" · ".join(facts))
        _contributions(found)
        st.dataframe(
            [_vote(vote, found.entity) for vote in found.votes],
            hide_index=True,
            width="stretch",
            column_config={"Right": st.column_config.NumberColumn(format="percent")},
        )


def _sure(confidence: float | None) -> str:
    return "" if confidence is None else f", confidence {confidence:.1%}"


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{plain(name)} {share:.1%}" for name, share in shares.items())


def _contributions(found: Explanation) -> None:
    """How far each vote speaks for the label, against the mean of the labels."""
    rows = []
    for vote in found.votes:
        if vote.evidence:
            mean = sum(vote.evidence.values()) / len(vote.evidence)
            rows += [
                {"Function": vote.name, "Label": label, "Adds": adds - mean}
                for label, adds in vote.evidence.items()
            ]
    if not rows:
        st.caption("No function voted, so nothing speaks for a label.")
        return
    chart = alt.Chart(pd.DataFrame(rows)).mark_bar()
    st.altair_chart(
        chart.encode(
            x=alt.X("Adds:Q", title="Speaks against (left) or for (right) the label, log odds"),
            y=alt.Y("Function:N", title=None, axis=alt.Axis(labelLimit=220)),
            yOffset="Label:N",
            color=alt.Color("Label:N", title=None, legend=alt.Legend(orient="top")),
            tooltip=["Function", "Label", alt.Tooltip("Adds:Q", format="+.2f")],
        ).properties(height=120 + 18 * len(rows)),
        alt="How far each vote speaks for each label. The table below has the votes.",
    )


def _vote(vote: FunctionVote, entity: str) -> dict[str, object]:
    row = "the rule has no row for it"
    if vote.row is not None:
        told = {name: _short(value) for name, value in vote.row.items()}
        row = ", ".join(f"{name} {text}" for name, text in told.items() if text != entity)
    return {
        "Function": vote.name,
        "Vote": vote.vote or "abstains",
        "Right": vote.weight,
        "Rule": vote.rule,
        "Its row": row,
        "What it is": vote.description,
    }


def _short(value: object) -> str:
    if value is None:
        return "null"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# --- by hand -------------------------------------------------------------------------------------
def _by_hand(app: App, catalog: Catalog, ref: Ref) -> None:
    skipped: list[str] = st.session_state.setdefault(_SKIPPED, [])
    queue = service.uncertain(app, ref, limit=_QUEUE, skip=skipped)
    count = service.gold_count(app, ref.concept)
    st.caption(
        f"{count:,} gold labels of {plain(ref.concept)} so far. The most uncertain come first; "
        "your labels score the label model when it is computed next."
    )
    _undo(app, ref)
    if not queue:
        st.info("Nothing is left to label.", icon=":material/check_circle:")
        return
    asked = state.get("entity")
    keys = [e.key for e in queue]
    entity = queue[keys.index(asked)] if asked in keys else queue[0]
    _question(app, catalog, ref, entity)
    with st.expander(f"The next {len(queue):,}"):
        st.dataframe(
            service.table_of(queue).to_pandas(),
            hide_index=True,
            width="stretch",
            column_config=_CONFIDENCE,
        )


def _question(app: App, catalog: Catalog, ref: Ref, entity: Entity) -> None:
    given = entity.label or entity.outcome
    st.markdown(f"What is **{plain(entity.key)}**? It was given {plain(given)}.")
    with st.container(horizontal=True):
        for number, label in enumerate(catalog.model_labels(ref), 1):
            st.button(
                label,
                key=f"labels.give {label}",
                on_click=_give,
                args=(app, catalog, ref, entity.key, label),
                shortcut=str(number) if number < 10 else None,
            )
        st.button(
            "Skip",
            on_click=st.session_state[_SKIPPED].append,
            args=(entity.key,),
            type="tertiary",
            icon=":material/skip_next:",
        )
    _why(service.why(app, catalog, ref, entity.key))


def _give(app: App, catalog: Catalog, ref: Ref, key: str, label: str) -> None:
    try:
        service.give_gold(app, catalog, ref, key, label)
    except TippersError as error:
        st.session_state[_UNDO] = error
    else:
        st.session_state[_UNDO] = (key, label)


def _undo(app: App, ref: Ref) -> None:
    last = st.session_state.get(_UNDO)
    if isinstance(last, TippersError):
        tell(last)
    elif last:
        key, label = last
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/check_circle: {plain(key)} is {plain(label)}.")
            st.button("Undo", on_click=_take, args=(app, ref, key), icon=":material/undo:")


def _take(app: App, ref: Ref, key: str) -> None:
    service.take_gold(app, ref, key)
    st.session_state.pop(_UNDO, None)


_PERSONAL = {"Entities": _entities, "Label by hand": _by_hand}
