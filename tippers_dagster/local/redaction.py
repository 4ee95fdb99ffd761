"""Keeping secrets out of what is printed."""

from __future__ import annotations

import re
from urllib.parse import unquote

from tippers_dagster.settings import Settings

_URL_PASSWORD = re.compile(r"(://[^:/?#@\s]*):\S*@")
_NAMED = re.compile(
    r"(?i)\b(password|passwd|secret|token)(\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s&;,]+)"
)


def redact(text: str, settings: Settings | None = None) -> str:
    """The text with passwords of URLs, ``password=...`` and the settings' secrets as ``***``."""
    for secret in sorted(_secrets(settings), key=len, reverse=True) if settings else ():
        text = text.replace(secret, "***")
    text = _URL_PASSWORD.sub(r"\1:***@", text)
    return _NAMED.sub(r"\1\2***", text)


def _secrets(settings: Settings) -> set[str]:
    found: set[str] = set()
    if settings.device_key is not None:
        found.add(settings.device_key.get_secret_value())
    for url in (settings.database_url, settings.dagster_url, settings.source_url):
        found |= _password(url.get_secret_value()) if url is not None else set()
    found |= _password(settings.mlflow_url) if settings.mlflow_url else set()
    return {secret for secret in found if secret}


def _password(url: str) -> set[str]:
    authority = url.partition("://")[2].partition("?")[0].rpartition("@")[0]
    password = authority.partition(":")[2]
    query = re.findall(r"[?&]password=([^&]*)", url)
    return {form for raw in (password, *query) for form in (raw, unquote(raw))}
