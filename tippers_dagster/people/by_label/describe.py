"""Metadata, checks and figures of labelled occupancy, for Dagster and our tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from tippers_dagster.automation.specs import check_result
from tippers_dagster.occupancy.files import labelled_counts
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from tippers_dagster.people.by_label.work import Outcome

MAX_UNLABELLED = 0.5
"""Share of devices without a label, over all bins, above which the check warns."""

PARTS = "parts_add_up"
UNLABELLED_FEW = "few_unlabelled"
CHECKS = {
    PARTS: "In every space and bin, the devices of all labels add up to its occupancy; chunks in "
    "which they do not are not published.",
    UNLABELLED_FEW: f"At most {MAX_UNLABELLED:.0%} of the devices present have no label.",
}


def parts_check(asset: dg.AssetKey, outcome: Outcome) -> dg.AssetCheckResult:
    """Whether the labels of all bins add up to their occupancy."""
    wrong = outcome.wrong
    example = {"example": next(iter(wrong.values()))} if wrong else {}
    numbers = {
        "chunks_checked": len(outcome.done) + len(wrong),
        "chunks_wrong": sorted(wrong),
        "bins_checked": sum(done.checked.bins for done in outcome.done),
        "devices_in_them": sum(done.checked.devices for done in outcome.done),
        "chunks_up_to_date_already": outcome.fresh,
    }
    return check_result(asset, PARTS, not wrong, {**numbers, **example}, severe=True)


def unlabelled_check(asset: dg.AssetKey, outcome: Outcome) -> dg.AssetCheckResult:
    """Whether the share of devices without a label is small enough."""
    shares = label_shares(outcome)
    share = shares.get(outcome.labels.names[-1], 0.0)
    return check_result(asset, UNLABELLED_FEW, share <= MAX_UNLABELLED, {"share": share})


def label_shares(outcome: Outcome) -> dict[str, float]:
    """The share of each label, over devices in the narrowest bins; empty if nothing was counted."""
    sums = [sum(of_label) for of_label in zip(*(d.devices for d in outcome.done), strict=True)]
    whole = sum(sums)
    if not whole:
        return {}
    return {n: round(s / whole, 6) for n, s in zip(outcome.labels.names, sums, strict=True)}


def details(outcome: Outcome, by: str) -> dict[str, Any]:
    """Details recorded with the asset's version."""
    return {
        "by": by,
        "labels_version": outcome.labels.version,
        "chunks_counted": len(outcome.done),
        "chunks_up_to_date_already": outcome.fresh,
        "shares": label_shares(outcome),
    }


def metadata(settings: Settings, name: str, by: str, outcome: Outcome) -> dict[str, Any]:
    """Metadata of a materialisation."""
    return {
        "dagster/row_count": outcome.rows,
        "dagster/uri": f"{open_lake(settings).uri()}/{labelled_counts(name).folder}",
        "dagster/column_schema": _schema(outcome.labels.names),
        "by": by,
        "labels_version": outcome.labels.version or "",
        "chunks_counted": len(outcome.done),
        "chunks_up_to_date_already": outcome.fresh,
        "spaces": max((done.spaces for done in outcome.done), default=0),
        "files_removed": outcome.removed,
        "shares": label_shares(outcome),
        "seconds": round(outcome.seconds, 3),
    }


def _schema(names: tuple[str, ...]) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn("interval_seconds", "int32", "width of the bin in seconds"),
            dg.TableColumn("interval_begin_time", "timestamp[s, UTC]", "start of the bin"),
            *(dg.TableColumn(name, "int32", f"distinct devices: {name}") for name in names),
        ]
    )
