"""What is relied on of Dagster's internals."""

from __future__ import annotations

import dagster as dg
import pytest

from tippers_dagster.platform.dagster import internals


def test_pin_that_steps_ask_for_the_versions_of_their_inputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``docs/dagster_faults.md``: not needed any more if nothing is asked for."""
    from dagster._core.execution.context.data_version_cache import DataVersionCache

    asked: list[str] = []
    in_bodies: dict[str, list[str]] = {}

    def fetch(self: DataVersionCache, keys: list[dg.AssetKey]) -> None:
        asked.extend(key.to_user_string() for key in keys)
        self.input_asset_version_info |= dict.fromkeys(keys)

    monkeypatch.setattr(DataVersionCache, "_fetch_input_asset_version_info", fetch)
    name = "fetch_external_input_asset_version_info"
    monkeypatch.setattr(DataVersionCache, name, getattr(DataVersionCache, name))

    @dg.asset
    def upstream() -> None:
        """Never run."""

    @dg.asset(deps=[upstream])
    def plain() -> None:
        """Asks before its body."""
        in_bodies["plain"] = list(asked)

    @dg.asset(deps=[upstream])
    def chosen() -> None:
        """Does not."""
        in_bodies["chosen"] = list(asked)

    internals.without_input_versions(["chosen"])
    internals.without_input_versions(["chosen"])
    with dg.DagsterInstance.ephemeral() as instance:
        for asset in (chosen, plain):
            asked.clear()
            assert dg.materialize(
                [upstream, plain, chosen], selection=[asset], instance=instance
            ).success
    assert in_bodies == {"plain": ["upstream"], "chosen": []}
