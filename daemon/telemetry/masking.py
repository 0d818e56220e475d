"""Secrets in what is written: whole values by the name they stand under, parts of a text by their look.

Used by `log_format` for every log line, whoever wrote it, and by `spans`. Must never raise, and must stay linear in the
length of a text, whatever a handler logs.
"""

from __future__ import annotations

import re

MASK = "***"
TEXT_LIMIT = 32 * 1024
_OVERLAP = 4 * 1024  # so much more is looked at, for a secret that the cut would divide

_SECRET_KEY = re.compile(
    r"passw|passphrase|pwd|secret|token|authorization|credential|cookie|(?:api|access|private)[_-]?key|\bdsn\b", re.I
)

# A name is found wherever it stands in a longer one: AWS_SECRET_ACCESS_KEY, PGPASSWORD, stripeApiKey. A count of
# `tokens` is no secret.
_NAME = r"""(?:passw(?:or)?ds?|passphrase|pwd|secrets?|token|(?:api|access|private)[_-]?key|credentials?)
    (?:[_.-][\w.-]{0,64} | \d{1,8} | (?-i:[A-Z][a-z])\w{0,64})?"""
_SIGN = r"""(?:\\?["'])? \s{0,4} (?:=>|[:=]) \s{0,4}"""
# A quoted value ends with its quote, or with the text when that was cut; JSON within JSON has its quotes escaped.
_QUOTED = r"""\\"[^"]*+"? | b?"(?:[^"\\]|\\(?s:.))*+"? | b?'(?:[^'\\]|\\(?s:.))*+'?"""

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|\Z)", re.S
)
# Up to the last @ of the word: people do not always escape what stands in a password.
_IN_URL = re.compile(r'(://[^\s/:@]{0,256}:)([^\s"]+)')
_SCHEME = re.compile(r"\b(bearer|basic)\s{1,4}[\w.~+/=-]{8,}", re.I)
_HEADER = re.compile(rf"\b((?:proxy-|set-)?(?:authorization|cookie){_SIGN})(?:{_QUOTED}|[^\r\n]+)", re.I | re.X)
_PAIR = re.compile(rf"""({_NAME}{_SIGN})(?:{_QUOTED}|[^\s,;&'")\]}}]+)""", re.I | re.X)


def mask_text(text: str) -> str:
    """The text, cut at 32 KiB, without private keys, passwords in URLs, authorizations, cookies and `password=...`."""
    length = len(text)
    if length > TEXT_LIMIT:
        text = text[: TEXT_LIMIT + _OVERLAP]
    text = _PRIVATE_KEY.sub(MASK, text)
    text = _IN_URL.sub(_without_password, text)
    text = _SCHEME.sub(rf"\1 {MASK}", text)
    text = _HEADER.sub(rf"\1{MASK}", text)
    text = _PAIR.sub(rf"\1{MASK}", text)
    return text if length <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}... ({length} characters)"


def masked(key: str, value: object) -> object:
    """A value as it may be written: whole secrets by the key's name, parts of text by their look; JSON types only."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_KEY.search(key):
        return MASK
    if isinstance(value, dict):
        return {str(inner): masked(str(inner), part) for inner, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked(key, part) for part in value]
    return mask_text(value if isinstance(value, str) else text_of(value))


def text_of(value: object) -> str:
    """`str(value)`, or the name of its type: a broken `__str__` must not cost the line."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _without_password(found: re.Match[str]) -> str:
    before, at, host = found[2].rpartition("@")
    return f"{found[1]}{MASK}@{host}" if at and before else found[0]
