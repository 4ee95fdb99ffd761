"""Health checks of servers and the daemon: a running process is not enough."""

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
"""A daemon sends a heartbeat every 30 s; Dagster itself tolerates half an hour without."""

_LIST_REPOSITORIES = "/api.DagsterApi/ListRepositories"
"""A call that the code server's proxy process forwards to the process with the definitions."""


@dataclass(frozen=True)
class Trouble:
    """Why something does not work. ``sure``: it reports so itself; else it may only be busy."""

    why: str
    sure: bool = False


def code_server_trouble(host: str, port: int, seconds: float = ANSWER_SECONDS) -> Trouble | None:
    """What is wrong with a code server, checked down to the process with the definitions.

    Its outer process still answers when the inner one is gone.
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
    # The outer process answers with the error from calling the inner one.
    said = error.details() or ""
    if "UNAVAILABLE" in said or "No available client" in said:
        return Trouble("The process that holds the definitions is gone.", sure=True)
    return Trouble(f"The process that holds the definitions fails: {said[:200]}", sure=True)


def web_trouble(address: str, seconds: float = ANSWER_SECONDS) -> Trouble | None:
    """What is wrong with a web server; it should answer with success."""
    try:
        with urllib.request.urlopen(address, timeout=seconds) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        return Trouble(f"{address} answers with status {error.code}.")
    except OSError as error:
        return Trouble(f"{address} does not answer: {getattr(error, 'reason', error)}.")
    return None


def daemon_trouble(url: str, since: float, longest: float) -> Trouble | None:
    """What is wrong with the daemon, by the heartbeats of its parts in Dagster's storage.

    Returns None while the storage does not answer.

    Parameters
    ----------
    since
        Earlier heartbeats belong to another daemon (Unix seconds).
    longest
        Seconds after its last heartbeat until a part counts as stalled.
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
        return Trouble("It has sent no heartbeat.")
    oldest, seconds = max(ages.items(), key=lambda item: item[1])
    if seconds <= longest:
        return None
    return Trouble(f"The last heartbeat of its part {oldest} was {seconds:.0f} s ago.", sure=True)
