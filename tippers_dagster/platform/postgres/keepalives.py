"""Keepalive parameters: connections notice when the other side is gone."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

KEEPALIVES: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""For libpq: a network that drops all packets is noticed within a minute."""


def with_keepalives(url: str) -> str:
    """A database URL with these parameters, unless it sets them already."""
    parts = urlsplit(url)
    given = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    added = urlencode({name: value for name, value in KEEPALIVES.items() if name not in given})
    return parts._replace(query="&".join(filter(None, [parts.query, added]))).geturl()
