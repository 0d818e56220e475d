"""Filters: what is written down as a filter means what it says, and nothing else is one."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.local.pubsub.filters import FilterInvalid, parse_filter

KEYS = st.sampled_from(["kind", "prio", "job_name", "AND", "hasPrefix", "ce-type", "a b", 'quo"te', "ü"])
VALUES = st.sampled_from(["", "a", "ab", "abc", 'say "hi"', "back\\slash", "✓"])
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=5)

# A filter as a tree, its text and its meaning written down independently of the parser.
CONDITIONS = st.one_of(
    st.tuples(st.just("has"), KEYS),
    st.tuples(st.sampled_from(["=", "!="]), KEYS, VALUES),
    st.tuples(st.just("prefix"), KEYS, VALUES),
)
TREES = st.recursive(
    CONDITIONS,
    lambda trees: st.one_of(
        st.tuples(st.sampled_from(["NOT", "-"]), trees),
        st.tuples(st.sampled_from(["AND", "OR"]), st.lists(trees, min_size=2, max_size=3)),
    ),
    max_leaves=4,
)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def written(tree: tuple) -> str:
    match tree:
        case ("has", key):
            return f"attributes:{quoted(key)}"
        case ("=" | "!=" as sign, key, value):
            return f"attributes.{quoted(key)} {sign} {quoted(value)}"
        case ("prefix", key, value):
            return f"hasPrefix(attributes.{quoted(key)},{quoted(value)})"
        case ("NOT" | "-" as sign, inner):
            return f"{sign} ({written(inner)})"
        case (word, parts):
            return f" {word} ".join(f"({written(part)})" for part in parts)


def meaning(tree: tuple, attributes: Mapping[str, str]) -> bool:
    match tree:
        case ("has", key):
            return key in attributes
        case ("=", key, value):
            return key in attributes and attributes[key] == value
        case ("!=", key, value):
            return key not in attributes or attributes[key] != value
        case ("prefix", key, value):
            return key in attributes and attributes[key].startswith(value)
        case ("NOT" | "-", inner):
            return not meaning(inner, attributes)
        case ("AND", parts):
            return all(meaning(part, attributes) for part in parts)
        case ("OR", parts):
            return any(meaning(part, attributes) for part in parts)
    raise AssertionError(tree)


@given(TREES.filter(lambda tree: len(written(tree).encode()) <= 256), ATTRIBUTES)
def test_a_filter_means_what_it_says(tree: tuple, attributes: dict[str, str]) -> None:
    assert parse_filter(written(tree))(attributes) is meaning(tree, attributes)


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    try:
        passes = parse_filter(text)
    except FilterInvalid:
        return
    assert passes({}) in (True, False)


@pytest.mark.parametrize("text", ["", "  "])
def test_no_filter_lets_everything_pass(text: str) -> None:
    assert parse_filter(text)({})


@pytest.mark.parametrize(
    "text",
    [
        "kind === nothing",
        "attributes.kind = a",
        'attributes.kind > "a"',
        'attributes.kind = "a" AND attributes:b OR attributes:c',
        'attributes.kind = "a" and attributes:b',
        "attributes.kind",
        "attributes:kind attributes:prio",
        "(attributes:kind",
        "attributes:kind)",
        "NOT",
        'hasPrefix(attributes:kind, "a")',
        'data = "x"',
        "attributes:ce-type",
        'attributes.kind = "unfinished',
        'attributes.kind = "bad \\q escape"',
        "attributes:" + "k" * 250,
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(FilterInvalid):
        parse_filter(text)


def test_the_refusal_says_where_the_filter_is_wrong() -> None:
    with pytest.raises(FilterInvalid, match=r"expected '=' or '!=', not '>'|unexpected '> \"a\"'"):
        parse_filter('attributes.kind > "a"')
