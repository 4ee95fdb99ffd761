"""The makers of vendor prefixes: those that come with the project, and a campus's registry."""

from __future__ import annotations

import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.campus.devices import UNIVERSAL, device_kinds, normalised_prefixes
from tippers_dagster.campus.makers import common_prefixes, makers, makers_of
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings


def test_the_prefixes_that_come_with_the_project() -> None:
    found = common_prefixes()
    prefixes = found["prefix"]
    assert found.num_rows >= 100
    assert len(prefixes.unique()) == found.num_rows
    assert normalised_prefixes(prefixes).equals(prefixes)
    addresses = pa.array([f"{prefix}:00:00:00" for prefix in prefixes.to_pylist()])
    assert set(device_kinds(addresses).tolist()) == {UNIVERSAL}
    assert found["maker"].null_count == 0
    assert "printer" in found["maker_kind"].to_pylist()
    assert found["maker_kind"].null_count > 0, "of makers of several kinds"
    kinds = {(row["maker"].lower(), row["maker_kind"]) for row in found.to_pylist()}
    assert len({maker for maker, _ in kinds}) == len(kinds), "one kind per maker"


def test_a_registry_takes_precedence_and_kinds_follow_the_maker(stack: Settings) -> None:
    common = common_prefixes()
    prefixes = pa.array(["3c:22:fb", "00:1b:a9", "00:00:07", "00:00:08", None])
    shipped, kinds = makers_of(prefixes, makers(stack))
    assert shipped.to_pylist() == ["Apple, Inc.", "Brother industries, LTD.", None, None, None]
    assert kinds.to_pylist() == [None, "printer", None, None, None]
    with warehouse_engine(stack).begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO tippers.vendor_prefix VALUES ('3c:22:fb', 'Its buyer'), "
                "('00:00:07', 'AXIS Communications ab'), ('00:00:08', 'A small maker')"
            )
        )
    known = makers(stack)
    assert known.num_rows == common.num_rows + 2
    named, kinds = makers_of(prefixes, known)
    assert named.to_pylist() == [
        "Its buyer",
        "Brother industries, LTD.",
        "AXIS Communications ab",
        "A small maker",
        None,
    ]
    assert kinds.to_pylist() == [None, "printer", "camera", None, None]
