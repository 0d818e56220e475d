"""Masking: whatever a secret is written as, none of it is left in the text, and what stands around it is."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.telemetry.masking import MASK, TEXT_LIMIT, mask_text, masked

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
secrets = st.text(LETTERS + "._-+/~", min_size=8, max_size=600).map(lambda text: f"Zq{text}")
names = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "AWS_", "db_", "my.", "x-", "stripeLive", "DATABASE_"]),
    st.sampled_from(
        [
            *("password", "passwd", "secret", "token", "api_key", "apikey", "api-key", "passphrase", "PGPASSWORD"),
            *("SECRET_ACCESS_KEY", "access_key", "accessKey", "private_key", "privateKey", "client_secret", "pwd"),
        ]
    ),
    st.sampled_from(["", "_value", "_2", "Value", "-prod", ".old", "_FILE_CONTENT"]),
)
around = st.text(LETTERS + " ", max_size=40)
WRITTEN = {
    "assignment": "{name}={secret}",
    "colon": "{name}: {secret}",
    "arrow": "{name} => {secret}",
    "single quotes": "{{'{name}': '{secret}', 'a': 1}}",
    "double quotes": '{{"{name}": "{secret}", "a": 1}}',
    "quoted assignment": "export {name}='{secret}'",
    "escaped JSON": '{{\\"{name}\\": \\"{secret}\\"}}',
    "bytes": "{{b'{name}': b'{secret}'}}",
    "query": "https://h/x?{name}={secret}&a=1",
}


@pytest.mark.parametrize("form", list(WRITTEN))
@given(name=names, secret=secrets, before=around, after=around)
def test_a_value_beside_a_secrets_name_is_masked_however_both_are_written(
    form: str, name: str, secret: str, before: str, after: str
) -> None:
    text = f"{before} {WRITTEN[form].format(name=name, secret=secret)} {after}"
    shown = mask_text(text)
    assert secret not in shown
    assert MASK in shown
    assert shown.startswith(before)
    assert shown.endswith(after)


@given(name=names, secret=st.text(max_size=200).map(lambda text: f"Zq7{text}"))
def test_a_dumped_value_is_masked_whole_whatever_characters_it_holds(name: str, secret: str) -> None:
    for text in (
        json.dumps({name: secret, "a": 1}),
        json.dumps({name: secret}, ensure_ascii=False),
        repr({name: secret}),
    ):
        assert "Zq7" not in mask_text(text), text
        assert mask_text(text).startswith("{")


@given(
    secret=st.text(LETTERS + "/#?@:%!$&()*+,;=[]._~-'", min_size=6, max_size=2_000).map(lambda text: f"Zq{text}Zq"),
    scheme=st.sampled_from(["postgresql", "redis", "amqp", "https"]),
    user=st.sampled_from(["", "app", "user%40corp"]),
)
@example(secret="hunter2/x#y?z@w", scheme="postgresql", user="u")
def test_a_password_in_a_url_is_masked_whatever_it_holds(secret: str, scheme: str, user: str) -> None:
    shown = mask_text(f"could not reach {scheme}://{user}:{secret}@db.example:5432/headcount today")
    assert "Zq" not in shown
    assert "hunter" not in shown
    assert shown.startswith(f"could not reach {scheme}://{user}:{MASK}@")
    assert shown.endswith(" today")


@given(
    secret=st.text(LETTERS + "._~+/=-", min_size=8, max_size=1_000), word=st.sampled_from(["Bearer", "bearer", "Basic"])
)
def test_a_token_of_an_authorization_is_masked(secret: str, word: str) -> None:
    for text in (
        f"{word} {secret} was refused",
        f"Authorization: {word} {secret}",
        f'{{"authorization": "{word} {secret}"}}',
    ):
        assert secret not in mask_text(text).replace(MASK, "")


@given(secret=secrets)
def test_cookies_and_private_keys_are_masked_to_their_end(secret: str) -> None:
    pem = f"-----BEGIN RSA PRIVATE KEY-----\n{secret}\n{secret}\n-----END RSA PRIVATE KEY-----"
    for text in (f"Set-Cookie: a=b; session={secret}; Path=/", f"cookie: x={secret}, y={secret}", f"read {pem} it"):
        assert secret not in mask_text(text)


@given(text=st.text(max_size=400))
def test_masking_twice_is_masking_once_and_what_holds_no_secret_stays(text: str) -> None:
    assert mask_text(mask_text(text)) == mask_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "the prompt has 345 tokens: 12 are new",
        "prompt_tokens=345 max_tokens: 512",
        "a password is needed",
        "see https://example.com:8080/path?page=2 for more",
        'column "key" of relation "job" does not exist',
    ],
)
def test_a_text_without_a_secret_stays_as_it_is(text: str) -> None:
    assert mask_text(text) == text


@given(name=names, secret=secrets)
def test_a_value_under_a_secrets_name_is_masked_at_any_depth(name: str, secret: str) -> None:
    assert secret not in json.dumps(masked("settings", {"inner": [{name: secret}, {name: {"deep": [secret]}}]}))


def test_a_secret_across_the_cut_of_a_long_text_is_masked() -> None:
    assert "Zq" not in mask_text("x" * (TEXT_LIMIT - 30) + ' "password": "' + "Zq" * 40 + '"')
