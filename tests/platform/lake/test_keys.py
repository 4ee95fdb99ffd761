import pytest

from tippers_dagster.errors import LakeError
from tippers_dagster.platform.lake.keys import (
    check_key,
    check_prefix,
    decode,
    definition_key,
    encode,
    sessions_key,
)

ODD_IDS = [".", "..", "...", "a/b", "../../etc", "a b", "é☃", "%2F", "a%b", "x=y", "A", "a", "-"]


@pytest.mark.parametrize("space", ODD_IDS)
def test_encoded_ids_are_one_safe_part_and_can_be_decoded(space: str) -> None:
    part = encode(space)
    assert "/" not in part
    assert part.strip(".")
    assert decode(part) == space
    check_key(f"labelled/{part}/chunk=2025-01-06.parquet")
    check_prefix(f"labelled/{part}/")


def test_different_ids_are_encoded_differently() -> None:
    assert len({encode(space) for space in ODD_IDS}) == len(ODD_IDS)


def test_keys_are_readable() -> None:
    assert sessions_key("2025-01-06") == "sessions/chunk=2025-01-06.parquet"


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\\b", "a\0b", ".tmp/a"]
)
def test_unsafe_keys_are_refused(key: str) -> None:
    with pytest.raises(LakeError, match="not a key"):
        check_key(key)


def test_a_prefix_is_a_folder() -> None:
    assert check_prefix("") == ""
    assert check_prefix("a/b/") == "a/b/"
    with pytest.raises(LakeError):
        check_prefix("presence/space=1")
    with pytest.raises(LakeError):
        check_prefix("../")


def test_definition_tables_have_separate_folders() -> None:
    assert definition_key("rules", "device", "always_on") == "rules/device__always_on/data.parquet"
    assert definition_key("votes", "device", "static") == "votes/device/static/data.parquet"
    check_key(definition_key("labels", "../x", "a/b"))
