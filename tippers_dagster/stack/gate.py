"""Rejects requests from other web sites to this deployment's servers.

Any page in a browser can send requests to a local port. Requests from another site, or to a host
name that is not the server's own (DNS rebinding), are rejected before the server sees them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from tippers_dagster.platform.dagster.addresses import LOOPBACK

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?")
_REFUSED_BY_POLICY = 1008


class Gate:
    """ASGI middleware: accepts requests from the server's own pages, or from no page.

    Parameters
    ----------
    addresses
        Public URLs of the server, besides this machine's own names.
    setting
        The variable that sets them, named in the response to rejected requests.
    """

    def __init__(self, app: ASGIApp, addresses: Iterable[str], setting: str) -> None:
        self._app, self._setting = app, setting
        parts = [urlsplit(address.lower()) for address in addresses]
        self._hosts = {*LOOPBACK, *(part.hostname for part in parts if part.hostname)}
        self._origins = {f"{part.scheme}://{part.netloc}" for part in parts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or pass it on."""
        reason = None
        if scope["type"] in ("http", "websocket"):
            reason = self._refusal(scope, Headers(scope=scope))
        if reason is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(_REFUSED_BY_POLICY, reason)(scope, receive, send)
        else:
            await PlainTextResponse(f"{reason}\n", 403)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> str | None:
        hosts = [host.lower() for host in headers.getlist("host")]
        if len(hosts) != 1 or _name(hosts[0]) not in self._hosts:
            return (
                "This server is not known by this host name. "
                f"Set {self._setting} to the URL that browsers use."
            )
        origins = [origin.lower() for origin in headers.getlist("origin")]
        own = {f"http://{hosts[0]}", f"https://{hosts[0]}", *self._origins}
        if len(origins) > 1 or not own.issuperset(origins):
            return (
                "This request comes from another site. "
                f"Set {self._setting} to the URL that browsers use."
            )
        site = headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none") and not _is_link(scope, headers):
            return "This request comes from another site."
        return None


class GraphQLGate:
    """ASGI middleware: accepts GraphQL only as JSON by POST, which other sites cannot send."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 405 or 415, or pass it on."""
        if scope["type"] == "http" and scope["path"].rstrip("/").endswith("/graphql"):
            headers = Headers(scope=scope)
            # GET loads the query editor's page.
            is_page = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
            if scope["method"] != "POST" and not is_page:
                await PlainTextResponse("Send GraphQL by POST.\n", 405)(scope, receive, send)
                return
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if not is_page and kind not in ("application/json", "application/graphql"):
                text = "Send GraphQL as application/json.\n"
                await PlainTextResponse(text, 415)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _name(host: str) -> str | None:
    """The name in a ``Host`` header, without its port; None when it is malformed."""
    found = _HOST.fullmatch(host)
    return None if found is None else found[1] or found[2].removesuffix(".")


def _is_link(scope: Scope, headers: Headers) -> bool:
    """Whether the request follows a link from another site to a page, not into a frame."""
    return (
        scope["type"] == "http"
        and scope["method"] in ("GET", "HEAD")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )
