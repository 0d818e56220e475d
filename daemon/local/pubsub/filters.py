"""Subscription filters: the text of one becomes a predicate over a message's attributes.

Called when a subscription is created (an unparsable filter is refused there) and, as the predicate, at publish.
It must not know messages or subscriptions: attributes in, yes or no out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

Attributes = Mapping[str, str]
Predicate = Callable[[Attributes], bool]

MAX_FILTER_BYTES = 256
NAME = r"[A-Za-z_][A-Za-z0-9_]*"
STRING = r'"(?:[^"\\]|\\.)*"'
TOKEN = re.compile(rf"\s*(?:(?P<string>{STRING})|(?P<name>{NAME})|(?P<sign>!=|[=:.,()\-]))")


class FilterInvalid(ValueError):
    """The text is not a filter; says where and why."""


def parse_filter(text: str) -> Predicate:
    """The predicate of a filter. No filter at all lets everything pass."""
    if len(text.encode()) > MAX_FILTER_BYTES:
        raise FilterInvalid(f"a filter may have at most {MAX_FILTER_BYTES} bytes")
    if not text.strip():
        return lambda attributes: True
    parser = Parser(text)
    predicate = parser.expression()
    if parser.token:
        raise parser.error("the end")
    return predicate


class Parser:
    """Recursive descent, one method for each line of the grammar:

    expression = term {"AND" term} | term {"OR" term}          never both without brackets
    term       = ["NOT" | "-"] ("(" expression ")" | condition)
    condition  = "hasPrefix" "(" "attributes" "." key "," string ")"
               | "attributes" (":" key | "." key ("=" | "!=") string)
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.token = ""
        self.kind = ""
        self.advance()

    def advance(self) -> str:
        """Step to the next token; returns the one before it."""
        before = self.token
        rest = self.text[self.position :]
        match = TOKEN.match(rest)
        if match is None:
            if rest.strip():
                raise FilterInvalid(f"unexpected {rest.strip()[:20]!r} in the filter {self.text!r}")
            self.token = self.kind = ""
        else:
            self.kind = match.lastgroup or ""
            self.token = match.group(self.kind)
            self.position += match.end()
        return before

    def error(self, wanted: str) -> FilterInvalid:
        return FilterInvalid(f"expected {wanted}, not {self.token or 'the end'!r}, in the filter {self.text!r}")

    def expect(self, token: str) -> None:
        if self.token != token:
            raise self.error(repr(token))
        self.advance()

    def expression(self) -> Predicate:
        config = [self.term()]
        word = self.token
        while self.token in ("AND", "OR"):
            if self.token != word:
                raise FilterInvalid(f"AND and OR need brackets between them in the filter {self.text!r}")
            self.advance()
            config.append(self.term())
        if len(config) == 1:
            return config[0]
        combine = all if word == "AND" else any
        return lambda attributes: combine(term(attributes) for term in config)

    def term(self) -> Predicate:
        if self.token in ("NOT", "-"):
            self.advance()
            inner = self.term()
            return lambda attributes: not inner(attributes)
        if self.token == "(":
            self.advance()
            inner = self.expression()
            self.expect(")")
            return inner
        return self.condition()

    def condition(self) -> Predicate:
        if self.token == "hasPrefix":
            return self.has_prefix()
        self.expect("attributes")
        if self.token == ":":
            self.advance()
            present = self.key()
            return lambda attributes: present in attributes
        self.expect(".")
        key = self.key()
        if self.token not in ("=", "!="):
            raise self.error("'=' or '!='")
        equal = self.advance() == "="
        value = self.string()
        return lambda attributes: (attributes.get(key) == value) is equal

    def has_prefix(self) -> Predicate:
        self.advance()
        self.expect("(")
        self.expect("attributes")
        self.expect(".")
        key = self.key()
        self.expect(",")
        prefix = self.string()
        self.expect(")")
        return lambda attributes: key in attributes and attributes[key].startswith(prefix)

    def key(self) -> str:
        return self.string() if self.kind == "string" else self.name()

    def name(self) -> str:
        if self.kind != "name":
            raise self.error("an attribute's key")
        return self.advance()

    def string(self) -> str:
        if self.kind != "string":
            raise self.error("a text in double quotes")
        quoted = self.advance()
        try:
            return str(json.loads(quoted))
        except ValueError as error:
            raise FilterInvalid(f"{quoted} is not a text in double quotes") from error
