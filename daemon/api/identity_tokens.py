"""Google-signed OIDC identity tokens: whose they are, if Google signed them for us.

Called by `authentication`. Google's certificates are kept for an hour, and asked for again (at most once a minute) when
a token names a key that is not among them. See https://cloud.google.com/docs/authentication/token-types#id-sign.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from google.auth import exceptions, jwt
from google.auth.transport.requests import Request

CERTIFICATES_URL = "https://www.googleapis.com/oauth2/v1/certs"
ISSUERS = ("accounts.google.com", "https://accounts.google.com")
KEEP_SECONDS = 3600.0
AGAIN_SECONDS = 60.0
SKEW_SECONDS = 10


class InvalidToken(Exception):
    """A token that proves nothing; the text says why, and nothing of the token."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a token names: a verified e-mail address, and the Workspace domain that it belongs to, or ''."""

    email: str
    domain: str


def google_certificates() -> dict[str, str]:
    """Google's certificates now, PEM by key id. Blocks. Raises TransportError, or ValueError for another answer."""
    answer = Request()(CERTIFICATES_URL, method="GET", timeout=5)
    if answer.status != 200:
        raise ValueError(f"Google's certificates: status {answer.status}")
    found: dict[str, str] = json.loads(answer.data)
    return found


class IdentityTokens:
    """Verifies tokens for one audience."""

    def __init__(self, audience: str, fetch: Callable[[], dict[str, str]] = google_certificates) -> None:
        self._audience = audience
        self._fetch = fetch
        self._certificates: dict[str, str] = {}
        self._fetched = float("-inf")
        self._lock = asyncio.Lock()

    async def account_of(self, token: str) -> Account:
        """Whose token it is. Raises InvalidToken."""
        try:
            key = jwt.decode_header(token).get("kid")  # type: ignore[no-untyped-call]
        except (ValueError, exceptions.GoogleAuthError):
            raise InvalidToken("no token of any kind") from None
        certificates = await self._certificates_for(key)
        if key not in certificates:
            raise InvalidToken("signed with a key that is not Google's")
        try:
            claims = jwt.decode(  # type: ignore[no-untyped-call]
                token, certificates, audience=self._audience, clock_skew_in_seconds=SKEW_SECONDS
            )
        except (ValueError, exceptions.GoogleAuthError):
            raise InvalidToken("forged, expired or for another audience") from None
        return _account(claims)

    async def _certificates_for(self, key: object) -> Mapping[str, str]:
        async with self._lock:
            age = time.monotonic() - self._fetched
            if age > KEEP_SECONDS or (key not in self._certificates and age > AGAIN_SECONDS):
                self._fetched = time.monotonic()
                try:
                    self._certificates = await asyncio.to_thread(self._fetch)
                except (exceptions.TransportError, ValueError) as error:
                    if not self._certificates:
                        raise InvalidToken(
                            f"Google's certificates could not be fetched: {type(error).__name__}"
                        ) from None
            return self._certificates


def _account(claims: Mapping[str, object]) -> Account:
    if claims.get("iss") not in ISSUERS:
        raise InvalidToken("of another issuer")
    email, domain = claims.get("email"), claims.get("hd", "")
    if not isinstance(email, str) or claims.get("email_verified") is not True or not isinstance(domain, str):
        raise InvalidToken("without a verified e-mail address")
    return Account(email, domain)
