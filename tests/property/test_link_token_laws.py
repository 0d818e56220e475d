"""Tokens of progress links: each says what was signed, with a key that is known, before it expires; nothing else."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.rules.link_tokens import LinkClaims, parse_keys, sign, verified

KEY, OTHER = bytes(32), bytes([1]) * 32
CLAIMS = st.builds(LinkClaims, st.uuids(), st.uuids(), st.integers(1, 2**40))


@given(CLAIMS)
def test_a_token_says_what_was_signed_until_it_expires(claims: LinkClaims) -> None:
    token = sign(claims, "k", KEY)
    assert verified(token, {"k": KEY}, claims.expires - 1) == claims
    assert verified(token, {"k": KEY}, claims.expires) is None
    assert verified(token, {"k": OTHER}, 0) is None
    assert verified(token, {"other": KEY}, 0) is None


@given(CLAIMS, st.data())
def test_a_token_that_was_altered_anywhere_says_nothing(claims: LinkClaims, data: st.DataObject) -> None:
    token = sign(claims, "k", KEY)
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("abcXYZ019-_.="))
    changed = token[:at] + letter + token[at + 1 :]
    found = verified(changed, {"k": KEY}, 0)
    assert changed == token or found is None or found == claims  # the last letter of base64 has bits without meaning


@given(st.text(max_size=120))
def test_any_other_text_says_nothing_and_raises_nothing(text: str) -> None:
    assert verified(text, {"k": KEY}, 0) is None


def test_keys_are_read_in_order_and_a_weak_one_is_refused() -> None:
    text = f"new:{'ab' * 32}, old:{'cd' * 40}"
    assert list(parse_keys(text)) == ["new", "old"]
    assert parse_keys("") == {}
    for wrong in ("ab" * 32, "k:abcd", f"k:{'zz' * 32}", f":{'ab' * 32}"):
        with pytest.raises(ValueError, match="32 bytes"):
            parse_keys(wrong)
    assert UUID(int=0)
