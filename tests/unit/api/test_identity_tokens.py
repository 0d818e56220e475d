"""Google's identity tokens: only a token that Google signed for us, for a verified account, proves anything."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt, jwt

from daemon.api.credentials import Caller, Role, credentials
from daemon.api.identity_tokens import Account, IdentityTokens, InvalidToken
from daemon.settings import load

AUDIENCE = "https://jobs.example"
EMAIL = "deploy@p.iam.gserviceaccount.com"


def made() -> tuple[crypt.RSASigner, str]:
    """A key, and its certificate as Google publishes them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    certificate = (
        builder.serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    signer = crypt.RSASigner.from_string(private, "k1")
    return signer, certificate.public_bytes(serialization.Encoding.PEM).decode()


GOOGLE, CERTIFICATE = made()
STRANGER, _ = made()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {
        "iss": "https://accounts.google.com", "aud": AUDIENCE, "iat": now, "exp": now + 3600,
        "email": EMAIL, "email_verified": True, **changes,
    }  # fmt: skip
    return {name: value for name, value in whole.items() if value is not None}


def token(signer: crypt.RSASigner = GOOGLE, **changes: Any) -> str:
    made_token: bytes = jwt.encode(signer, claims(**changes))
    return made_token.decode()


def unsigned() -> str:
    parts = ({"alg": "none", "typ": "JWT", "kid": "k1"}, claims())
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


async def test_a_token_that_google_signed_for_us_names_its_account() -> None:
    tokens = IdentityTokens(AUDIENCE, lambda: {"k1": CERTIFICATE})
    assert await tokens.account_of(token()) == Account(EMAIL, "")
    assert await tokens.account_of(token(email="me@example.com", hd="example.com")) == Account(
        "me@example.com", "example.com"
    )


HEAD, BODY, SIGNATURE = token().split(".")
OTHER_BODY = token(email="root@example.com").split(".")[1]


@pytest.mark.parametrize(
    "bad",
    [
        token(aud="https://other.example"),
        token(exp=int(time.time()) - 60, iat=int(time.time()) - 120),
        token(iat=int(time.time()) + 86_400),  # made long before the test runs
        token(iss="https://evil.example"),
        token(email_verified=False),
        token(email_verified="true"),
        token(email=None),
        token(STRANGER),
        unsigned(),
        f"{HEAD}.{OTHER_BODY}.{SIGNATURE}",
        f"{HEAD}.{BODY}.",
        "a.b.c",
        "..",
    ],
)
async def test_a_token_that_proves_nothing_is_refused(bad: str) -> None:
    with pytest.raises(InvalidToken):
        await IdentityTokens(AUDIENCE, lambda: {"k1": CERTIFICATE}).account_of(bad)


async def test_certificates_are_fetched_once_and_for_unknown_keys_once_a_minute() -> None:
    fetches: list[int] = []

    def fetch() -> dict[str, str]:
        fetches.append(1)
        return {"k2": CERTIFICATE}

    tokens = IdentityTokens(AUDIENCE, fetch)
    for _ in range(3):
        with pytest.raises(InvalidToken, match="a key that is not Google's"):
            await tokens.account_of(token())
    assert len(fetches) == 1


def _load(**settings: str) -> Any:
    needed = {"HEADCOUNT_DATABASE_URL": "postgresql://a@b/c", "HEADCOUNT_PROJECT": "p"}
    return credentials(load(needed | {f"HEADCOUNT_API_{name.upper()}": value for name, value in settings.items()}))


def test_a_domain_is_what_google_says_and_never_the_end_of_an_address() -> None:
    known = _load(audience=AUDIENCE, accounts=f"{EMAIL}:operate, @example.com:read")
    assert known.caller_of_account(EMAIL, "") == Caller(EMAIL, Role.OPERATE)
    assert known.caller_of_account("me@example.com", "example.com") == Caller("me@example.com", Role.READ)
    assert known.caller_of_account("me@example.com", "") is None
    assert known.caller_of_account("other@p.iam.gserviceaccount.com", "") is None
    assert _load(auth="off", host="0.0.0.0", accounts="a@b:read", audience="x").required is False
