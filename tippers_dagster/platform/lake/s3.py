"""The lake in S3 or compatible storage (MinIO)."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tippers_dagster.errors import LakeError, LakeFileMissing
from tippers_dagster.platform.disk import reporting_full
from tippers_dagster.platform.lake.backend import FileReplaced, Span, Version

PARALLEL = 16
"""Number of concurrent requests: their latency, not this machine, is the limit."""

TAIL = 1 << 20
"""Bytes at the end of an object that are fetched when it is opened. The first byte of an answer
takes 20 to 50 ms, a megabyte 10 to 15 ms: a smaller object is fetched whole, in one request.
pyarrow reads the last 64 KB first: it must not be less."""

GAP = 1 << 18
"""Parts of an object that are closer together are fetched with one request, for the same reason."""

_DELETED_AT_ONCE = 1000
_GONE = frozenset({"404", "NoSuchKey"})
_REPLACED = frozenset({"412", "PreconditionFailed"})
_FAILURES = (ClientError, BotoCoreError, Boto3Error)
_TRANSFER = TransferConfig(multipart_threshold=16 << 20, multipart_chunksize=16 << 20)


class S3Backend:
    """Objects ``<prefix>/<key>`` in a bucket.

    Credentials come from boto3's usual chain (environment, profile, machine role). A small file is
    one request; a large one is a multipart upload, which is aborted if it fails. Both are atomic in
    S3. Parts uploaded by a killed process are never visible; a lifecycle rule of the bucket for
    incomplete uploads removes them.
    """

    parallel = PARALLEL
    remote = True
    batch = 1

    def __init__(self, bucket: str, prefix: str, endpoint_url: str | None, region: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            region_name=region,
            config=Config(
                retries={"max_attempts": 5, "mode": "standard"},
                max_pool_connections=2 * PARALLEL,
                connect_timeout=10,
                # Custom endpoints rarely have a host name per bucket.
                s3={"addressing_style": "path" if endpoint_url else "auto"},
            ),
        )

    # --- writing ----------------------------------------------------------------------------
    def put(self, key: str, data: Any) -> None:
        """Write a whole file."""
        with self._reporting("written", key):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=bytes(data))

    @contextmanager
    def create(self, key: str) -> Iterator[IO[bytes]]:
        """A file that is published when the block ends without error."""
        # Unnamed on disk, so nothing is left behind even if the process is killed.
        with (
            reporting_full(Path(tempfile.gettempdir()), "TMPDIR"),
            tempfile.TemporaryFile() as file,
        ):
            yield file
            file.seek(0)
            with self._reporting("written", key):
                self._client.upload_fileobj(
                    file, self._bucket, self._prefix + key, Config=_TRANSFER
                )

    # --- reading ----------------------------------------------------------------------------
    def get(self, key: str) -> bytes:
        """A whole file."""
        with self._reporting("read", key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            data: bytes = answer["Body"].read()
            return data

    def copy_to(self, key: str, target: IO[bytes]) -> None:
        """Write an object's content to a file."""
        with self._reporting("read", key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            for block in answer["Body"].iter_chunks(TAIL):
                target.write(block)

    def open(self, key: str, known: Version | None = None) -> RangedObject:
        """An object to read parts of."""
        return RangedObject(self, key, known)

    def get_range(self, key: str, span: str, etag: str | None = None) -> dict[str, Any]:
        """The answer to a request for a range, such as ``0-9`` or ``-10``, with its body read.

        Raises
        ------
        FileReplaced
            When the object is no longer the one with this ``etag``.
        """
        unchanged = {} if etag is None else {"IfMatch": etag}
        with self._reporting("read", key):
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._prefix + key, Range=f"bytes={span}", **unchanged
            )
            return {**answer, "Body": answer["Body"].read()}

    def exists(self, key: str) -> bool:
        """Whether there is a file."""
        try:
            with self._reporting("read", key):
                self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
        except LakeFileMissing:
            return False
        return True

    def list(self, prefix: str) -> list[str]:
        """The keys below a folder, sorted."""
        return sorted(self.contents(prefix))

    def contents(self, prefix: str) -> dict[str, Version]:
        """The versions of all objects below a folder."""
        with self._reporting("listed", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            skip = len(self._prefix)
            return {
                o["Key"][skip:]: (f"{o['ETag']} {o['LastModified']}", o["Size"])
                for page in pages
                for o in page.get("Contents", ())
            }

    def sizes(self) -> Iterator[tuple[str, int]]:
        """The keys and sizes of all files, page by page."""
        with self._reporting("listed", ""):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            skip = len(self._prefix)
            for page in pages:
                yield from ((o["Key"][skip:], o["Size"]) for o in page.get("Contents", ()))

    # --- removing ---------------------------------------------------------------------------
    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""
        with self._reporting("deleted", key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def delete_prefix(self, prefix: str) -> None:
        """Remove a folder, if it is there."""
        keys = self.list(prefix)
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            some = keys[start : start + _DELETED_AT_ONCE]
            objects = [{"Key": self._prefix + key} for key in some]
            with self._reporting("deleted", prefix):
                answer = self._client.delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": objects, "Quiet": True},
                )
            for error in answer.get("Errors", ()):
                raise self._failed("deleted", error["Key"], error.get("Message", error["Code"]))

    # --- the rest ---------------------------------------------------------------------------
    def uri(self, key: str) -> str:
        """Where a file is."""
        return f"s3://{self._bucket}/{self._prefix}{key}".rstrip("/")

    def location(self) -> dict[str, Any]:
        """The bucket with the prefix, and what pyarrow needs: boto3 finds the credentials."""
        url = urlsplit(self._client.meta.endpoint_url)
        arguments = {
            "region": self._client.meta.region_name,
            "scheme": url.scheme,
            "endpoint_override": url.netloc,
            "tls_ca_file_path": os.environ.get("AWS_CA_BUNDLE"),
        }
        found = boto3.Session().get_credentials()
        if found is not None:
            frozen = found.get_frozen_credentials()
            arguments |= {
                "access_key": frozen.access_key,
                "secret_key": frozen.secret_key,
                "session_token": frozen.token,
            }
        root = f"{self._bucket}/{self._prefix}".rstrip("/")
        return {"root": root, "s3": {n: v for n, v in arguments.items() if v is not None}}

    def sync(self) -> None:
        """Nothing to do: acknowledged writes are durable."""

    @contextmanager
    def _reporting(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] in _REPLACED:
                raise FileReplaced(f"{key} was replaced while it was being read") from None
            if error.response["Error"]["Code"] in _GONE:
                raise LakeFileMissing(
                    f"{key} is not in the lake ({self.uri('')})",
                    "Materialise it, or check TIPPERS_LAKE_URL.",
                ) from None
            raise self._failed(verb, key, str(error)) from error
        except _FAILURES as error:
            raise self._failed(verb, key, str(error)) from error

    def _failed(self, verb: str, key: str, reason: str) -> LakeError:
        return LakeError(
            f"{key or 'the lake'} could not be {verb} in {self.uri('')}: {reason}",
            "Check that the bucket exists, TIPPERS_S3_ENDPOINT_URL and TIPPERS_S3_REGION, "
            "and the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE or the machine's role).",
        )


class RangedObject(io.RawIOBase):
    """One object, read in ranges. What has been fetched is kept until it is closed.

    Its end is fetched at once, unless the version is known: then nothing is, until it is needed.
    """

    def __init__(self, backend: S3Backend, key: str, known: Version | None) -> None:
        self._backend, self._key = backend, key
        self._position = 0
        self._fetched: dict[int, bytes] = {}
        if known is not None:
            self._etag, self._size = known
            return
        answer = backend.get_range(key, f"-{TAIL}")
        self._etag = answer["ETag"]
        self._fetched = {0: answer["Body"]}
        self._size = len(answer["Body"])
        if "ContentRange" in answer:  # "bytes FIRST-LAST/SIZE"; absent if the answer is all of it
            span, _, size = answer["ContentRange"].removeprefix("bytes ").partition("/")
            self._size = int(size)
            self._fetched = {int(span.partition("-")[0]): answer["Body"]}

    @property
    def version(self) -> Version:
        """Every request names it, so each part is of this version."""
        return self._etag, self._size

    @property
    def source(self) -> RangedObject:
        """Itself."""
        return self

    def prefetch(self, spans: Sequence[Span]) -> None:
        """Fetch these ranges, those that are close together with one request."""
        merged: list[list[int]] = []
        for first, length in sorted(spans):
            if self._held(first, length) is not None:
                continue
            if merged and first - merged[-1][1] <= GAP:
                merged[-1][1] = max(merged[-1][1], first + length)
            else:
                merged.append([first, first + length])
        if not merged and not self._fetched:
            merged.append([self._size - 1, self._size])  # to learn whether it has been replaced
        for first, end in merged:
            self._fetch(first, end - first)

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(
            whence, self._size
        )
        return self._position

    def read(self, size: int = -1) -> bytes:
        """The next bytes, from what has been fetched where possible."""
        left = self._size - self._position
        length = max(0, left if size is None or size < 0 else min(size, left))
        if not length:
            return b""
        held = self._held(self._position, length)
        found = self._fetch(self._position, length) if held is None else bytes(held)
        self._position += length
        return found

    def _held(self, first: int, length: int) -> memoryview | None:
        for start, data in self._fetched.items():
            if start <= first and first + length <= start + len(data):
                return memoryview(data)[first - start : first - start + length]
        return None

    def _fetch(self, first: int, length: int) -> bytes:
        span = f"{first}-{first + length - 1}"
        data: bytes = self._backend.get_range(self._key, span, self._etag)["Body"]
        self._fetched[first] = data
        return data
