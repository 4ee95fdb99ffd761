import boto3
import pyarrow as pa
import pytest

from tippers_dagster.errors import LakeError, LakeFileMissing
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.s3 import S3Backend
from tippers_dagster.settings import Settings, get_settings

TABLE = pa.table({"x": pa.array(range(1000), pa.int64())})


def test_objects_lie_below_the_prefix(s3) -> None:
    lake = open_lake(get_settings())
    lake.write_table("a/b.parquet", TABLE)
    client = boto3.client("s3", endpoint_url=s3.endpoint_url, region_name="us-east-1")
    found = client.list_objects_v2(Bucket=s3.name)["Contents"]
    assert [o["Key"] for o in found] == ["lake/a/b.parquet"]
    assert lake.uri("a/b.parquet") == f"s3://{s3.name}/lake/a/b.parquet"


def test_a_missing_bucket_is_an_error_and_nothing_is_written_elsewhere(s3, tmp_path) -> None:
    settings = Settings(lake_url="s3://no-such-bucket/lake", home=tmp_path / "home")
    lake = open_lake(settings)
    for attempt in (
        lambda: lake.write_table("a.parquet", TABLE),
        lambda: lake.write_tables([("a.parquet", TABLE)]),
        lambda: lake.read_table("a.parquet"),
        lambda: lake.list("a/"),
    ):
        with pytest.raises(LakeError, match="no-such-bucket") as caught:
            attempt()
        assert not isinstance(caught.value, LakeFileMissing)
    with pytest.raises(LakeError), lake.open_writer("a.parquet", TABLE.schema) as writer:
        writer.write(TABLE)
    assert not (tmp_path / "home" / "lake").exists()


def test_an_unreachable_server_is_an_error(s3) -> None:
    settings = Settings(lake_url=s3.url, s3_endpoint_url="http://127.0.0.1:9")
    with pytest.raises(LakeError, match="could not be written"):
        open_lake(settings).write_table("a.parquet", TABLE)


def test_large_files_are_uploaded_in_parts(s3, monkeypatch) -> None:
    from boto3.s3.transfer import TransferConfig

    parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    monkeypatch.setattr("tippers_dagster.platform.lake.s3._TRANSFER", parts)
    backend = S3Backend(s3.name, "lake", s3.endpoint_url, "us-east-1")
    data = bytes(range(256)) * (12 << 12)
    with backend.create("big.bin") as file:
        file.write(data)
        assert not backend.exists("big.bin")
    assert backend.get("big.bin") == data


def test_a_large_file_that_fails_leaves_nothing(s3, monkeypatch) -> None:
    from boto3.s3.transfer import TransferConfig

    parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    monkeypatch.setattr("tippers_dagster.platform.lake.s3._TRANSFER", parts)
    backend = S3Backend(s3.name, "lake", s3.endpoint_url, "us-east-1")
    client = backend._client

    def fail_complete(**_: object) -> None:
        raise RuntimeError("the line was cut")

    client.meta.events.register("before-call.s3.CompleteMultipartUpload", fail_complete)
    with pytest.raises(RuntimeError), backend.create("big.bin") as file:
        file.write(bytes(11 << 20))
    assert backend.list("") == []
    assert "Uploads" not in client.list_multipart_uploads(Bucket=s3.name)
