"""What is wrong with a server or daemon: asked, not inferred from a living process."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2

ANSWER_SECONDS = 10.0
BEAT_SECONDS = 600.0
"""A daemon writes that it is alive every 30 s; Dagster itself waits half an hour for it."""

_LIST_REPOSITORIES = "/api.DagsterApi/ListRepositories"
"""Dagster's call that its proxy of a code server passes on to the process with the definitions."""


@dataclass(frozen=True)
class Trouble:
    """Why something does not work. ``sure``: it says so itself; else it may only be busy."""

    why: str
    sure: bool = False


def code_server_trouble(host: str, port: int, seconds: float = ANSWER_SECONDS) -> Trouble | None:
    """What is wrong with a code server, asked through to the process that has the definitions.

    Its outer process answers for itself also when the inner one is gone.
    """
    import grpc

    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            answer: bytes = channel.unary_unary(_LIST_REPOSITORIES)(b"", timeout=seconds)
        except grpc.RpcError as error:
            return _refused(error, host, port, seconds)
    # JSON in a field of a message, whose length is before it and may end with any byte.
    said = json.loads(answer[answer.index(b'{"') :])
    if said.get("__class__") == "SerializableErrorInfo":
        lines = str(said.get("message")).strip().splitlines()
        return Trouble(f"The definitions do not load: {lines[0] if lines else '?'}", sure=True)
    return None


def _refused(error: Any, host: str, port: int, seconds: float) -> Trouble:
    from grpc import StatusCode

    if error.code() is StatusCode.DEADLINE_EXCEEDED:
        return Trouble(f"It has not answered for {seconds:.0f} s.")
    if error.code() is not StatusCode.UNKNOWN:
        return Trouble(f"Nothing answers at {host}:{port}.")
    # The outer process answers, with what came of its asking the inner one.
    said = error.details() or ""
    if "UNAVAILABLE" in said or "No available client" in said:
        return Trouble("The process that holds the definitions is gone.", sure=True)
    return Trouble(f"The process that holds the definitions fails: {said[:200]}", sure=True)


def web_trouble(address: str, seconds: float = ANSWER_SECONDS) -> Trouble | None:
    """What is wrong with a web server: whatever it answers, it should be success."""
    try:
        with urllib.request.urlopen(address, timeout=seconds) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        return Trouble(f"{address} answers with status {error.code}.")
    except OSError as error:
        return Trouble(f"{address} does not answer: {getattr(error, 'reason', error)}.")
    return None


def daemon_trouble(url: str, since: float, longest: float) -> Trouble | None:
    """What is wrong with the daemon, by the beats of its parts in Dagster's storage.

    Nothing is said while the storage does not answer.

    Parameters
    ----------
    since
        Beats before this are those of another daemon (Unix seconds).
    longest
        So many seconds after its last beat a part counts as standing still.
    """
    query = (
        "SELECT daemon_type, extract(epoch FROM now() AT TIME ZONE 'UTC' - timestamp)::float8 "
        "FROM daemon_heartbeats WHERE timestamp >= to_timestamp(%s) AT TIME ZONE 'UTC' ORDER BY 2"
    )
    try:
        connection = psycopg2.connect(url, connect_timeout=5)
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(query, (since,))
            ages = dict(cursor.fetchall())
    except psycopg2.errors.UndefinedTable:
        ages = {}
    except psycopg2.OperationalError:
        return None
    if not ages:
        return Trouble("It has given no sign of life.")
    oldest, seconds = max(ages.items(), key=lambda item: item[1])
    if seconds <= longest:
        return None
    return Trouble(f"Its part {oldest} gave the last sign of life {seconds:.0f} s ago.", sure=True)
