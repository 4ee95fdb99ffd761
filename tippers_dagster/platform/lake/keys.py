"""Keys of the lake: fixed and readable.

A name may be any text: it is percent-encoded in keys, so that none can leave its folder or be
confused with another. Those of presence and counts: ``tippers_dagster.occupancy.files``.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from tippers_dagster.errors import LakeError

_BAD_PARTS = frozenset({"", ".", ".."})

SESSIONS_PREFIX = "sessions/"

LONGEST_SPACE = 255 - len("space=")
"""Bytes of an encoded space id: path components are limited to 255 on file systems and in MinIO."""


def encode(name: str) -> str:
    """An id as one part of a key; ``decode`` reverses it."""
    if name and not name.strip("."):
        return name.replace(".", "%2E")
    return quote(name, safe="")


def decode(part: str) -> str:
    """The id of which ``part`` is the encoded form."""
    return unquote(part)


def chunk_file(prefix: str, chunk: str) -> str:
    """The file of one chunk in a folder, given with its slash; ``chunk_of`` reverses it."""
    return f"{prefix}chunk={encode(chunk)}.parquet"


def chunk_of(key: str) -> str:
    """The chunk of a file that ``chunk_file`` names."""
    name = key.rsplit("/", 1)[-1]
    return decode(name.removeprefix("chunk=").removesuffix(".parquet"))


def sessions_key(chunk: str) -> str:
    """The cleaned sessions of one chunk."""
    return chunk_file(SESSIONS_PREFIX, chunk)


def definition_key(folder: str, concept: str, name: str) -> str:
    """The table of a definition; ``folder`` is that of its kind, such as ``indexes`` or ``rules``.

    Both names are plain identifiers; two underscores join them, as in the warehouse.
    """
    if folder == "votes":
        return f"votes/{encode(concept)}/{encode(name)}/data.parquet"
    return f"{encode(folder)}/{encode(concept)}__{encode(name)}/data.parquet"


def check_key(key: str) -> str:
    """The key, if it is a plain relative path; LakeError otherwise."""
    parts = key.split("/")
    if _BAD_PARTS.intersection(parts) or "\\" in key or "\0" in key or parts[0].startswith(".tmp"):
        raise LakeError(
            f"{key!r} is not a key of the lake",
            "A key is a relative path with forward slashes and without empty, '.' or '..' parts.",
        )
    return key


def check_prefix(prefix: str) -> str:
    """The prefix, if it is empty or a folder with a trailing slash; LakeError otherwise.

    Without the slash ``space=1`` would also match ``space=10``.
    """
    if prefix and not prefix.endswith("/"):
        raise LakeError(f"{prefix!r} is not a folder of the lake", "End the prefix with a slash.")
    if prefix:
        check_key(prefix[:-1])
    return prefix
