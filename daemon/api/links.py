"""Progress links: what a request with `?link=TOKEN` may see, and which keys sign tokens.

Used by `authentication`, the streams and the routes. A link opens the progress of one orchestration, for reading, until
it expires, is revoked by its row, or its orchestration is pruned.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs
from uuid import UUID

from starlette.types import Scope

from daemon.errors import RequestRefused, SettingsInvalid
from daemon.progress_link import ProgressLink
from daemon.rules.link_tokens import LinkClaims, parse_keys, sign, verified
from daemon.settings import Settings

PATH = re.compile(r"/v1/orchestrations/([0-9a-fA-F-]{36})/(?:events|progress)")
HEADERS = {"Access-Control-Allow-Origin": "*", "Referrer-Policy": "no-referrer"}


@dataclass(frozen=True, slots=True)
class LinkKeys:
    """Secrets by their ids; the first one signs, each of them is believed."""

    keys: Mapping[str, bytes]

    @classmethod
    def of(cls, settings: Settings) -> LinkKeys:
        """Those of the settings. Raises SettingsInvalid."""
        try:
            return cls(parse_keys(settings.api_link_keys.get_secret_value()))
        except ValueError as error:
            fix = "export HEADCOUNT_API_LINK_KEYS=$(date +%Y-%m):$(openssl rand -hex 32)"
            raise SettingsInvalid(f"HEADCOUNT_API_LINK_KEYS: {error}.", fix) from None

    def token(self, link: ProgressLink) -> str:
        """The token of a link. Raises RequestRefused without a key."""
        self.require()
        key_id, key = next(iter(self.keys.items()))
        claims = LinkClaims(link.id, link.orchestration_id, int(link.expires_at.timestamp()))
        return sign(claims, key_id, key)

    def require(self) -> None:
        """Raises RequestRefused without a key."""
        if not self.keys:
            raise RequestRefused("no key signs links here: set HEADCOUNT_API_LINK_KEYS")

    def claims(self, token: str) -> LinkClaims | None:
        """What a token says, if it is ours and has not expired."""
        return verified(token, self.keys, time.time())


def link_token(scope: Scope) -> str | None:
    """The token in the query of a request for progress; None for any other request."""
    if PATH.fullmatch(scope["path"]) is None:
        return None
    given = parse_qs(scope["query_string"].decode("latin-1")).get("link")
    return given[0] if given else None


def opened_by(scope: Scope) -> UUID:
    """The orchestration that a request for progress names. Raises ValueError."""
    found = PATH.fullmatch(scope["path"])
    return UUID(found[1] if found else "")
