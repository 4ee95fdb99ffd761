"""An asset for each classifier: which of its versions is champion."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import dagster as dg

from tippers_dagster.automation.computation import Computation, DefinitionAsset, definition_assets
from tippers_dagster.automation.nodes import Node, digest
from tippers_dagster.automation.specs import check_result
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Classifier, Kind
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.learning.keys import champion_path
from tippers_dagster.learning.naming import registered_name
from tippers_dagster.learning.promotion import gain
from tippers_dagster.learning.registry import deciding, decisions, registered_model, token_of
from tippers_dagster.settings import Settings

VERSION = 1
"""Raise it when the same challenger would be judged differently."""

CHECK_SECONDS = 6 * 3600
"""How often the alias in MLflow is compared with the decisions, and reset if it was moved."""

IN_USE = "there_is_one"
BEATS_MAJORITY = "beats_the_majority_class"
CHAMPION_CHECKS = {
    IN_USE: "One version of the model is champion; without one nothing is predicted.",
    BEATS_MAJORITY: "When it was judged, the champion was better than the majority class.",
}


def champion_nodes(settings: Settings, catalog: Catalog) -> list[Node]:
    """The refresh node of each champion: depends on its classifier, and on MLflow's registry.

    Dependent assets see only the version's number, so they become stale when the champion changes,
    not whenever a classifier is trained.
    """
    return [
        Node(
            champion_path(d.ref),
            digest("champion", str(VERSION), *_decides(d)),
            (d.ref.asset_path,),
            every_seconds=CHECK_SECONDS,
            seen_by_token=True,
        )
        for d in catalog.of_kind(Kind.CLASSIFIER)
    ]


def _decides(definition: Definition) -> tuple[str, str]:
    body = definition.body
    assert isinstance(body, Classifier)
    return body.promotion_metric, str(body.promotion_margin)


def champion_assets(
    settings: Settings, catalog: Catalog, nodes: Sequence[Node]
) -> list[dg.AssetsDefinition]:
    """One asset per valid classifier."""
    plan = partial(_champion, catalog)
    return definition_assets(settings, catalog, Kind.CLASSIFIER, nodes, plan, champion_path)


def _champion(catalog: Catalog, definition: Definition) -> DefinitionAsset:
    return DefinitionAsset(
        grain=f"One row per decision about the models of {definition.ref}: the challenger is "
        "compared with the champion on the same held-out entities, and replaces it if it wins.",
        kinds={"mlflow", "classifier"},
        checks=CHAMPION_CHECKS,
        compute=partial(_decide, catalog, definition.ref),
        described=False,
    )


def _decide(catalog: Catalog, ref: Ref, work: Computation) -> None:
    """Judge the challenger unless it was judged before, and record the champion."""
    from tippers_dagster.learning.challenges import judge_challenger

    settings, name = work.settings, registered_name(ref)
    with deciding(settings, name):
        model = registered_model(settings, name)
        decided = judge_challenger(settings, catalog, ref, model, work.run_id)
        if decided is not None:
            work.context.log.info(
                "Version %d: %s. %s", decided.version, decided.decision, decided.reason
            )
        champion = registered_model(settings, name).champion
        log = decisions(settings, name)
        number = None if champion is None else champion.number
        work.succeeded(
            len(log),
            {"champion": number, "model": name},
            _metadata(name, champion, decided, log),
            token=token_of(champion),
        )
    work.report(*_checks(work.asset, champion, log))


def _metadata(name: str, champion: Any, decided: Any, log: Sequence[Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "dagster/row_count": len(log),
        "model": name,
        "champion": "none" if champion is None else champion.number,
        "judged_now": "nothing new" if decided is None else f"version {decided.version}",
    }
    if decided is not None:
        metadata |= {"decision": decided.decision, "reason": decided.reason, **_scores(decided)}
    return metadata


def _scores(decided: Any) -> dict[str, Any]:
    given = {
        "metric": decided.metric,
        "margin": decided.margin,
        "challenger_score": decided.score,
        "champion_score": decided.champion_score,
        "majority_class_score": decided.majority_score,
        "held_out_entities": decided.entities,
        "measures": dict(decided.details),
    }
    return {name: value for name, value in given.items() if value is not None}


def _checks(key: dg.AssetKey, champion: Any, log: Sequence[Any]) -> list[dg.AssetCheckResult]:

    number = None if champion is None else champion.number
    judged = next((d for d in log if d.version == number and d.score is not None), None)
    better, metadata = number is None, {}
    if judged is not None and judged.majority_score is not None:
        better = gain(judged.metric, judged.score, judged.majority_score) > 0
        metadata = {judged.metric: judged.score, "majority_class": judged.majority_score}
    return [
        check_result(key, IN_USE, champion is not None, {"champion": str(number or "none")}),
        check_result(key, BEATS_MAJORITY, better, {"champion": str(number or "none"), **metadata}),
    ]
