"""The whole job on a lake in S3, over HTTP."""

from __future__ import annotations

import datetime as dt

import boto3
import pytest

from tests.conftest import Bucket
from tests.occupancy.campus import Seen, add_sessions, add_spaces
from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.errors import LakeError, TippersError
from tippers_dagster.occupancy.chunk_tables import PREFIXES
from tippers_dagster.occupancy.launch import materialize
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.occupancy.status import occupancy_status
from tippers_dagster.occupancy.tracking import track_space
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.settings import Settings, get_settings

MONDAY = dt.datetime(2025, 1, 6)


@pytest.fixture
def tracked(stack: Settings, s3: Bucket) -> Settings:
    settings = get_settings()
    create_source_schema(settings)
    add_spaces(settings, {"hall": None, "room/1": "hall", "room 2": "hall"})
    hour = dt.timedelta(hours=1)
    add_sessions(
        settings,
        [
            Seen("aa", "room/1", MONDAY + 9 * hour, MONDAY + 10 * hour),
            Seen("aa", "room 2", MONDAY + 9 * hour, MONDAY + 11 * hour),
            Seen("bb", "room 2", MONDAY + 10 * hour, None),
        ],
    )
    track_space(settings, space="hall", start=MONDAY.date(), end=dt.date(2025, 1, 13))
    return settings


def run(settings: Settings) -> None:
    with dagster_instance(settings) as instance:
        materialize(settings, instance)


def hours(space: str) -> list[int]:
    read = read_occupancy(space, "2025-01-06T08:00", "2025-01-06T12:00", 3600)
    return read["number_connections"].to_pylist()


def test_counts_are_read_from_the_bucket(tracked: Settings, s3: Bucket) -> None:
    run(tracked)
    assert [hours(space) for space in ("hall", "room/1", "room 2")] == [
        [0, 1, 2, 1],
        [0, 1, 0, 0],
        [0, 1, 2, 1],
    ]
    client = boto3.client("s3", endpoint_url=s3.endpoint_url, region_name="us-east-1")
    keys = [item["Key"] for item in client.list_objects_v2(Bucket=s3.name)["Contents"]]
    counts = ["occupancy/derived", "occupancy/source", "presence", "sessions"]
    days = [prefix.rstrip("/") for prefix in PREFIXES]
    assert set(keys) == {f"lake/{folder}/chunk=2025-01-06.parquet" for folder in (*counts, *days)}


def test_a_failed_upload_fails_the_partition_and_records_nothing(
    tracked: Settings, s3: Bucket
) -> None:
    client = boto3.client("s3", endpoint_url=s3.endpoint_url, region_name="us-east-1")
    client.delete_bucket(Bucket=s3.name)
    with pytest.raises(TippersError, match=r"NoSuchBucket|does not exist"):
        run(tracked)
    assert [level.done for level in occupancy_status(tracked)] == [0, 0, 0, 0]
    with pytest.raises((LakeError, TippersError)):
        hours("hall")
    client.create_bucket(Bucket=s3.name)
    run(tracked)  # failed partitions are still wanted
    assert hours("hall") == [0, 1, 2, 1]
