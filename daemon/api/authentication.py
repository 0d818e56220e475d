"""Lets a request in, or not: a bearer token that is known, with the role that its method needs, or a progress link.

A middleware in plain ASGI, before the body is read. Whatever is wrong, the answer is the same: 401 without credentials
that count, 403 with a role that is too low. The log has the reason, never the token.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.api.credentials import Caller, Credentials, Role, is_loopback
from daemon.api.identity_tokens import IdentityTokens, InvalidToken
from daemon.api.links import HEADERS, link_token, opened_by
from daemon.api.problems import problem, refusal
from daemon.api.resources import Resources
from daemon.progress_link import ProgressLink
from daemon.telemetry.metrics.requests import RequestMetrics

READING = ("GET", "HEAD")
TOKEN_LIMIT = 8_192
NOBODY = Caller("anybody", Role.OPERATE)


class _Refused(Exception):
    """Not let in: a word for metrics and the log, and what the log has beside it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class Authentication:
    """Finds out whose request it is, and whether that one may make it. The caller is in the request's state."""

    def __init__(
        self,
        app: ASGIApp,
        credentials: Credentials,
        metrics: RequestMetrics,
        *,
        local: bool,
        identity_tokens: IdentityTokens | None = None,
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._metrics = metrics
        self._local = local
        self._identity_tokens = identity_tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or a refusal of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        token = link_token(scope)
        if token is not None:
            await self._with_link(token, scope, receive, _for_other_sites(send))
            return
        try:
            caller = await self._caller(Headers(scope=scope))
        except _Refused as refused:
            await self._refuse(refused, scope, receive, send)
            return
        if caller.role < (Role.READ if scope["method"] in READING else Role.OPERATE):
            request_id = scope["state"]["request_id"]
            self._metrics.refused("role", scope["method"], scope["path"], request_id, caller.name)
            await problem(403, "the role `operate` is needed", request_id)(scope, receive, send)
            return
        scope["state"]["caller"] = caller
        await self._app(scope, receive, send)

    async def _with_link(self, token: str, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope["state"]["link"] = await self._link(token, scope)
        except _Refused as refused:
            await self._refuse(refused, scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _link(self, token: str, scope: Scope) -> ProgressLink:
        resources: Resources = scope["state"]["resources"]
        claims = resources.keys.claims(token)
        if claims is None or scope["method"] not in READING:
            raise _Refused("link_token")
        try:
            opened = opened_by(scope) == claims.orchestration_id
        except ValueError:
            opened = False
        if not opened:
            raise _Refused("link_of_another", str(claims.link_id))
        link = (await resources.links.valid([claims.link_id])).get(claims.link_id)
        if link is None or link.orchestration_id != claims.orchestration_id:
            raise _Refused("link_revoked", str(claims.link_id))
        return link

    async def _refuse(self, refused: _Refused, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope["state"]["request_id"]
        self._metrics.refused(refused.reason, scope["method"], scope["path"], request_id, refused.detail)
        await refusal(request_id)(scope, receive, send)

    async def _caller(self, headers: Headers) -> Caller:
        if not self._credentials.required:
            if self._local and not _from_this_machine(headers):
                raise _Refused("another_site")
            return NOBODY
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > TOKEN_LIMIT:
            raise _Refused("no_token")
        known = self._credentials.caller_of_token(token)
        if known is not None:
            return known
        if self._identity_tokens is None or token.count(".") != 2:
            raise _Refused("unknown_token")
        try:
            account = await self._identity_tokens.account_of(token)
        except InvalidToken as invalid:
            raise _Refused("identity_token", str(invalid)) from None
        caller = self._credentials.caller_of_account(account.email, account.domain)
        if caller is None:
            raise _Refused("account", account.email)
        return caller


def _from_this_machine(headers: Headers) -> bool:
    """Whether no page of the web made it: a browser names the site (also one whose name leads here) and its origin."""
    host = urlsplit(f"//{headers.get('Host', '')}").hostname or ""
    origin = headers.get("Origin")
    return is_loopback(host) and (origin is None or is_loopback(urlsplit(origin).hostname or ""))


def _for_other_sites(send: Send) -> Send:
    """Answers that pages of any site may read, without cookies; the link must not travel on in a Referer."""

    async def shared(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return shared
