"""Health checks of servers and the daemon, beyond whether their processes run."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

import psycopg2

from tippers_dagster.platform.dagster.internals import heartbeat_ages

ANSWER_SECONDS = 10.0
BEAT_SECONDS = 600.0
"""A daemon sends a heartbeat every 30 s; Dagster itself tolerates a gap of half an hour."""

_LIST_REPOSITORIES = "/api.DagsterApi/ListRepositories"
"""A call that the code server's proxy process forwards to the process with the definitions."""


@dataclass(frozen=True)
class Trouble:
    """Why a service does not work.

    Unless ``sure``, it may only be busy. If it has ``ended``, waiting does not help even if it has
    only just been started.
    """

    why: str
    sure: bool = False
    ended: bool = False


def code_server_trouble(host: str, port: int, seconds: float = ANSWER_SECONDS) -> Trouble | None:
    """What is wrong with a code server, including its inner process, which loads the definitions.

    The outer process still answers when the inner one has ended.
    """
    import grpc

    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            answer: bytes = channel.unary_unary(_LIST_REPOSITORIES)(b"", timeout=seconds)
        except grpc.RpcError as error:
            return _call_failed(error, host, port, seconds)
    # JSON in a field of a message, after the field's length, which may end with any byte.
    response = json.loads(answer[answer.index(b'{"') :])
    if response.get("__class__") == "SerializableErrorInfo":
        lines = str(response.get("message")).strip().splitlines()
        return Trouble(f"The definitions do not load: {lines[0] if lines else '?'}", sure=True)
    return None


def _call_failed(error: Any, host: str, port: int, seconds: float) -> Trouble:
    from grpc import StatusCode

    if error.code() is StatusCode.DEADLINE_EXCEEDED:
        return Trouble(f"No answer within {seconds:.0f} s.")
    if error.code() is not StatusCode.UNKNOWN:
        return Trouble(f"Nothing answers at {host}:{port}.")
    # The outer process passes on the error from its call to the inner one.
    details = error.details() or ""
    if "UNAVAILABLE" in details or "No available client" in details:
        why = "The process that loads the definitions has ended."
        return Trouble(why, sure=True, ended=True)
    return Trouble(f"The process that loads the definitions fails: {details[:200]}", sure=True)


def web_trouble(
    address: str, seconds: float = ANSWER_SECONDS, method: str = "GET"
) -> Trouble | None:
    """What is wrong with a web server, which should answer with a success status."""
    request = urllib.request.Request(address, method=method)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        return Trouble(f"{address} answers with status {error.code}.")
    except OSError as error:
        return Trouble(f"{address} does not answer: {getattr(error, 'reason', error)}.")
    return None


def daemon_trouble(url: str, since: float, longest: float) -> Trouble | None:
    """What is wrong with the daemon, by its threads' heartbeats in Dagster's storage.

    Returns None when the storage does not answer.

    Parameters
    ----------
    since
        When this daemon started (Unix seconds); earlier heartbeats are ignored.
    longest
        Seconds without a heartbeat after which a thread counts as stalled.
    """
    try:
        ages = heartbeat_ages(url, since)
    except psycopg2.OperationalError:
        return None
    if not ages:
        return Trouble("It has sent no heartbeat.")
    oldest, seconds = max(ages.items(), key=lambda item: item[1])
    if seconds <= longest:
        return None
    return Trouble(f"The last heartbeat of its {oldest} was {seconds:.0f} s ago.", sure=True)
