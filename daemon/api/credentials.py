"""Who may do what: static tokens by their hash, and accounts of Google's identity tokens, as the settings name them.

Made once at the start; a setting that can't be read is an error there. A role holds all that the one below it may do.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

from daemon.errors import SettingsInvalid
from daemon.settings import Settings

MAKE_TOKEN = (
    "TOKEN=$(openssl rand -hex 32); "
    'export HEADCOUNT_API_TOKENS="me:operate:$(printf %s $TOKEN | sha256sum | cut -c-64)"'
)


class Role(IntEnum):
    """What a caller may do: look, or change things too."""

    READ = 1
    OPERATE = 2


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is. `name` goes into the log and into the audit."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Credentials:
    """Everybody who is let in. `tokens` are (SHA-256, caller); `accounts` are e-mail addresses, and domains after @."""

    required: bool
    tokens: tuple[tuple[bytes, Caller], ...]
    audience: str
    accounts: dict[str, Role]

    def caller_of_token(self, token: str) -> Caller | None:
        """Whose static token it is. Every hash is compared, in constant time."""
        digest = sha256(token.encode()).digest()
        found = None
        for known, caller in self.tokens:
            if hmac.compare_digest(digest, known):
                found = caller
        return found

    def caller_of_account(self, email: str, domain: str) -> Caller | None:
        """Who an account is, by its verified address, or by the domain that Google says it belongs to.

        The end of an address proves nothing: anybody can have a consumer account under it.
        """
        role = self.accounts.get(email.lower()) or (self.accounts.get(f"@{domain.lower()}") if domain else None)
        return None if role is None else Caller(email, role)


def credentials(settings: Settings) -> Credentials:
    """Read the settings. Raises SettingsInvalid for what can't be read, and where nobody or everybody would get in."""
    tokens = tuple(_token(text) for text in _parts(settings.api_tokens.get_secret_value()))
    accounts = dict(_account(text) for text in _parts(settings.api_accounts))
    if bool(accounts) != bool(settings.api_audience):
        text = "HEADCOUNT_API_ACCOUNTS and HEADCOUNT_API_AUDIENCE are of use only together."
        raise SettingsInvalid(text, "export HEADCOUNT_API_AUDIENCE=https://...")
    known = bool(tokens or accounts)
    if settings.api_auth == "off":
        return Credentials(False, (), "", {})
    if not known and (settings.api_auth == "required" or not is_loopback(settings.api_host)):
        text = f"The API on {settings.api_host} would let nobody in: no token and no account is named."
        raise SettingsInvalid(text, MAKE_TOKEN)
    return Credentials(known, tokens, settings.api_audience, accounts)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _token(text: str) -> tuple[bytes, Caller]:
    found = re.fullmatch(r"([\w.@-]+):(read|operate):([0-9a-f]{64})", text)
    if found is None:  # the text itself may be a token that somebody forgot to hash
        raise SettingsInvalid("A part of HEADCOUNT_API_TOKENS is not NAME:read|operate:SHA256.", MAKE_TOKEN)
    return bytes.fromhex(found[3]), Caller(found[1], Role[found[2].upper()])


def _account(text: str) -> tuple[str, Role]:
    found = re.fullmatch(r"([^\s:@]*@[^\s:@]+):(read|operate)", text)
    if found is None:
        problem = f"{text!r} in HEADCOUNT_API_ACCOUNTS is not EMAIL:read|operate or @DOMAIN:read|operate."
        raise SettingsInvalid(
            problem, "export HEADCOUNT_API_ACCOUNTS=deploy@my-project.iam.gserviceaccount.com:operate"
        )
    return found[1].lower(), Role[found[2].upper()]
