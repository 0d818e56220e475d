"""Lets a request in, or not: a bearer token that is known, with the role that its method needs.

A middleware in plain ASGI, before the body is read. Whatever is wrong, the answer is the same: 401 without credentials
that count, 403 with a role that is too low. The log has the reason, never the token.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.api.credentials import Caller, Credentials, Role, is_loopback
from daemon.api.identity_tokens import IdentityTokens, InvalidToken
from daemon.api.problems import problem
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
        request_id, method, path = scope["state"]["request_id"], scope["method"], scope["path"]
        try:
            caller = await self._caller(Headers(scope=scope))
        except _Refused as refused:
            self._metrics.refused(refused.reason, method, path, request_id, refused.detail)
            headers = {"WWW-Authenticate": 'Bearer realm="headcount"'}
            answer = problem(401, "credentials that count are needed", request_id, headers=headers)
            await answer(scope, receive, send)
            return
        if caller.role < (Role.READ if method in READING else Role.OPERATE):
            self._metrics.refused("role", method, path, request_id, caller.name)
            await problem(403, "the role `operate` is needed", request_id)(scope, receive, send)
            return
        scope["state"]["caller"] = caller
        await self._app(scope, receive, send)

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
