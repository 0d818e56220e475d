"""The token of a progress link: whose link it is, until when, and a signature that only a holder of a key can make.

Pure. Called by the API and by `headcount link`. A token is `KEY.PAYLOAD.SIGNATURE`: the key's id, then the link's and
the orchestration's ids and the expiry (8 bytes, seconds since 1970), then HMAC-SHA256, both in base64url.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

PURPOSE = b"headcount progress link 1\n"
_TOKEN = re.compile(r"([\w-]{1,40})\.([\w-]{54})\.([\w-]{43})", re.ASCII)


@dataclass(frozen=True, slots=True)
class LinkClaims:
    """What a token says: its link, the orchestration that it opens, and until when (seconds since 1970)."""

    link_id: UUID
    orchestration_id: UUID
    expires: int


def parse_keys(text: str) -> dict[str, bytes]:
    """Keys by their ids, from `ID:SECRET` separated by commas, the secrets of at least 32 bytes in hex, in order.

    Raises ValueError, which tells nothing of the text.
    """
    keys: dict[str, bytes] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = re.fullmatch(r"([\w-]{1,40}):((?:[0-9a-fA-F]{2}){32,})", part, re.ASCII)
        if found is None:
            raise ValueError("a part of it is not ID:SECRET with at least 32 bytes in hex")
        keys[found[1]] = bytes.fromhex(found[2])
    return keys


def sign(claims: LinkClaims, key_id: str, key: bytes) -> str:
    """The token of a link."""
    payload = claims.link_id.bytes + claims.orchestration_id.bytes + claims.expires.to_bytes(8, "big")
    return f"{key_id}.{_text(payload)}.{_text(_signature(payload, key_id, key))}"


def verified(token: str, keys: Mapping[str, bytes], now: float) -> LinkClaims | None:
    """What a token says if one of the keys has signed it and it has not expired, else None."""
    found = _TOKEN.fullmatch(token)
    key = keys.get(found[1]) if found else None
    if found is None or key is None:
        return None
    try:
        payload, signature = _bytes(found[2]), _bytes(found[3])
    except binascii.Error:
        return None
    if not hmac.compare_digest(signature, _signature(payload, found[1], key)):
        return None
    expires = int.from_bytes(payload[32:], "big")
    return LinkClaims(UUID(bytes=payload[:16]), UUID(bytes=payload[16:32]), expires) if now < expires else None


def _signature(payload: bytes, key_id: str, key: bytes) -> bytes:
    return hmac.digest(key, PURPOSE + key_id.encode() + b"\n" + payload, sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
