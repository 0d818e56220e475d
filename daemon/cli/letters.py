"""Text from outside as letters: what could act on a terminal is shown as an escape like `\\x1b`.

Used by `screen`, through which every command prints: tags, job names, hosts, errors and messages are whatever a
producer, a handler or a stranger made them. Pure.
"""

from __future__ import annotations

import re

# Control characters (C0, DEL, C1), line and paragraph separators, halves of surrogate pairs, and invisible marks that
# change the order in which text is read. The two joiners stay: words of several languages, and emoji, need them.
_ACTING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def as_letters(text: str) -> str:
    """The text on one line: each character that a terminal could act on as `\\x1b`, `\\u202e`, `\\n`."""
    return _ACTING.sub(_escape, text)


def as_json_letters(text: str) -> str:
    """JSON text in which those characters are escaped as JSON escapes them: it means the same, and acts on nothing."""
    return _ACTING.sub(lambda found: _utf16(ord(found[0])), text)


def on_one_line(text: str) -> str:
    """The same as `as_letters`, with every run of white space as one space."""
    return as_letters(" ".join(text.split()))


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character in _SHORT:
        return _SHORT[character]
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _utf16(number: int) -> str:
    if number < 0x10000:
        return f"\\u{number:04x}"
    high, low = divmod(number - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
