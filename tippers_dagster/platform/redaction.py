"""Removes secrets from output, and device addresses from stored texts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import unquote

from tippers_dagster.settings import Settings

_URL_PASSWORD = re.compile(r"(://[^:/?#@\s]*):\S*@")
_NAMED = re.compile(
    r"(?i)\b(password|passwd|secret|token)(\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s&;,]+)"
)


_DEVICE = re.compile(
    r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4}(?![0-9A-Fa-f])"
)
_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Secrets that other libraries read from the environment."""


def recordable(text: str, settings: Settings) -> str:
    """The text, safe to store in logs, in Dagster's and MLflow's records, and as an asset's error.

    Redacted by ``redact``. Device addresses become ``**:**``, since database errors quote the
    offending value.
    """
    return _DEVICE.sub("**:**", redact(text, settings))


def redact(text: str, settings: Settings | None = None, also: Iterable[str] = ()) -> str:
    """The text with ``***`` for passwords in URLs, ``password=...``, and secrets of the settings.

    ``also``: further secrets, such as the password of the connection in use.
    """
    known = {*(_secrets(settings) if settings else ()), *filter(None, also)}
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _URL_PASSWORD.sub(r"\1:***@", text)
    return _NAMED.sub(r"\1\2***", text)


def _secrets(settings: Settings) -> set[str]:
    found: set[str] = set()
    if settings.device_key is not None:
        found.add(settings.device_key.get_secret_value())
    if settings.secrets_keys is not None:
        keys = settings.secrets_keys.get_secret_value().split(",")
        found |= {key.strip() for key in keys}
    urls = (
        *(settings.database_url, settings.dagster_url, settings.source_url),
        *(settings.builder_url, settings.reader_url, settings.mlflow_database_url),
    )
    for url in urls:
        found |= _password(url.get_secret_value()) if url is not None else set()
    found |= _password(settings.mlflow_url) if settings.mlflow_url else set()
    found |= {os.environ.get(name, "") for name in _VARIABLES}
    return {secret for secret in found if secret}


def _password(url: str) -> set[str]:
    authority = url.partition("://")[2].partition("?")[0].rpartition("@")[0]
    password = authority.partition(":")[2]
    query = re.findall(r"[?&]password=([^&]*)", url)
    return {form for raw in (password, *query) for form in (raw, unquote(raw))}
