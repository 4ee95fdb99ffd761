"""Conditions: expressions similar to SQL's or Python's, and their parser.

    condition   = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | comparison
    comparison  = sum { ("<" | "<=" | ">" | ">=" | "=" | "==" | "!=" | "<>") sum
                      | ["not"] "between" sum "and" sum
                      | ["not"] "in" "(" constant { "," constant } ")"
                      | "is" ["not"] ("null" | "none") }
    sum         = product { ("+" | "-") product }
    product     = signed { ("*" | "/" | "//" | "%") signed }
    signed      = "-" signed | operand
    operand     = number | text | "true" | "false" | column
                | function "(" condition { "," condition } ")" | "(" condition ")"

Keywords are case-insensitive. Columns are case-sensitive, and in back quotes if their names are
not plain. Texts are in single or double quotes; quotes inside are doubled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn, cast

from tippers_dagster.labelling.expressions.functions import COALESCE, FUNCTIONS, MIN_AND_MAX
from tippers_dagster.labelling.expressions.nodes import (
    MAX_CONSTANTS,
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_NODES,
    MAX_STRING_LENGTH,
    MAX_TEXT_LENGTH,
    Arithmetic,
    ArithmeticOperator,
    Both,
    Branch,
    Call,
    Column,
    Compare,
    CompareOperator,
    Constant,
    Either,
    Expression,
    FunctionRefused,
    IsNull,
    Negate,
    Not,
    OneOf,
    Place,
    Return,
    Scalar,
    Vote,
)

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
  | (?P<quoted>`[^`]+`)
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<symbol><=|>=|<>|!=|==|//|[-+*/%<>=(),])
    """,
    re.VERBOSE,
)
_COMPARE: dict[str, CompareOperator] = {
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
    "=": "==",
    "==": "==",
    "!=": "!=",
    "<>": "!=",
}
WORDS = frozenset(["and", "or", "not", "in", "is", "between", "null", "none", "true", "false"])
"""Keywords: a column of this name must be in back quotes."""
_HINTS = {
    "&": "Use and.",
    "|": "Use or.",
    "!": "Use not.",
    "^": "Powers are not supported; write x * x.",
    "**": "Powers are not supported; write x * x.",
    ";": "A condition is one expression.",
    "[": "Write just the column's name.",
    ".": "Write just the column's name, or a number with a digit before the point.",
    "'": "Close the quotes.",
    '"': "Close the quotes.",
    "`": "Close the back quotes.",
}
_DIGITS_OF_INTEGER = len(str(MAX_INTEGER))


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    place: Place

    @property
    def word(self) -> str:
        """The form for comparisons: keywords in lower case, symbols unchanged, otherwise empty."""
        if self.kind == "word":
            return self.text.lower()
        return self.text if self.kind in ("symbol", "end") else ""


def parse_conditions(
    conditions: Iterable[tuple[str, str]], numbers: Mapping[str, int]
) -> tuple[Branch, ...]:
    """The program that votes for the label of the first condition that is true.

    Parameters
    ----------
    conditions
        Pairs of an expression and its label.
    numbers
        The class number of each label that it may vote for.

    Raises
    ------
    FunctionRefused
        For the first error.
    """
    cases = []
    for at, (text, label) in enumerate(conditions, start=1):
        start = Place(1, 1, at)
        if label not in numbers:
            raise FunctionRefused(
                f"it votes for {label}, which is not in its list of labels.",
                f"Its labels: {', '.join(numbers)}.",
                start,
            )
        vote = Return(Vote(numbers[label], start), start)
        cases.append((parse_expression(text, condition=at), (vote,)))
    return (Branch(tuple(cases), (), Place(1, 1, 1)),)


def parse_expression(text: str, *, condition: int = 1) -> Expression:
    """Parse one expression.

    Raises
    ------
    FunctionRefused
        When it is not an expression.
    """
    return _Parser(_tokens(text, condition)).whole()


def _tokens(text: str, condition: int) -> list[_Token]:
    if len(text) > MAX_TEXT_LENGTH:
        raise FunctionRefused(
            f"the text is longer than {MAX_TEXT_LENGTH:,} characters.",
            "Let the rule's SQL compute parts of it.",
            Place(1, 1, condition),
        )
    found, at, line, line_start = [], 0, 1, 0
    while at < len(text):
        place = Place(line, at - line_start + 1, condition)
        match = _TOKEN.match(text, at)
        if match is None:
            raise _unreadable(text[at:], place)
        kind, matched = match.lastgroup or "", match.group()
        if kind != "space":
            found.append(_Token(kind, matched, place))
        line += matched.count("\n")
        at = match.end()
        if "\n" in matched:
            line_start = match.start() + matched.rindex("\n") + 1
        if len(found) > MAX_NODES:
            raise FunctionRefused("it is too long.", "Shorten it.", place)
    return [*found, _Token("end", "the end", Place(line, at - line_start + 1, condition))]


def _unreadable(rest: str, place: Place) -> FunctionRefused:
    if rest[0].isdigit():
        return FunctionRefused(
            f"{rest.split()[0]!r:.40} is not a number.", "Write a number such as 12 or 0.8.", place
        )
    return FunctionRefused(
        f"{rest[0]!r} is not allowed in a condition.",
        _HINTS.get(rest[0], "Write unusual column names in back quotes: `my column`."),
        place,
    )


class _Parser:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *words: str) -> _Token | None:
        token = self._next
        if token.word not in words:
            return None
        self._at += 1
        return token

    def _expect(self, word: str, hint: str) -> _Token:
        return self._take(word) or self._refuse(f"{word!r} is missing before", hint)

    def _refuse(self, message: str, hint: str) -> NoReturn:
        token = self._next
        text = token.text if token.kind == "end" else f"{token.text!r:.60}"
        raise FunctionRefused(f"{message} {text}.", hint, token.place)

    def whole(self) -> Expression:
        """The whole expression; nothing may follow it."""
        if self._next.kind == "end":
            raise FunctionRefused(
                "the condition is empty.", "Write one, such as sessions >= 10.", self._next.place
            )
        found = self._condition()
        if self._next.kind != "end":
            token = self._next
            twice = self._tokens[self._at - 1].text == token.text == "*"
            hint = _HINTS["**"] if twice else "Join conditions with and, or."
            self._refuse("the condition ends before", hint)
        return found

    def _nested(self, inner: Callable[[], Expression]) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._refuse("it is nested too deeply at", "Let the rule's SQL compute parts of it.")
        found = inner()
        self._depth -= 1
        return found

    def _condition(self) -> Expression:
        return self._joined("or", self._conjunction, Either)

    def _conjunction(self) -> Expression:
        return self._joined("and", self._negation, Both)

    def _joined(
        self, word: str, inner: Callable[[], Expression], node: type[Both] | type[Either]
    ) -> Expression:
        place, operands = self._next.place, [inner()]
        while self._take(word):
            operands.append(inner())
        return operands[0] if len(operands) == 1 else node(tuple(operands), place)

    def _negation(self) -> Expression:
        token = self._take("not")
        if token is None:
            return self._comparison()
        return Not(self._nested(self._negation), token.place)

    def _comparison(self) -> Expression:
        place, first = self._next.place, self._sum()
        rest: list[tuple[CompareOperator, Expression]] = []
        while token := self._take(*_COMPARE):
            rest.append((_COMPARE[token.word], self._compared(token)))
        if rest:
            return self._no_more_tests(Compare(first, tuple(rest), place))
        negated = self._take("not") is not None
        if self._take("between"):
            low = self._sum()
            self._expect("and", "Write it like share between 0.2 and 0.8.")
            between = Compare(low, (("<=", first), ("<=", self._sum())), place)
            found: Expression = Not(between, place) if negated else between
        elif self._take("in"):
            found = OneOf(first, self._constants(), negated, place)
        elif negated:
            self._refuse("expected in or between after not, found", "Write it like x not in (1).")
        elif self._take("is"):
            found = self._null_test(first, place)
        else:
            return first
        return self._no_more_tests(found)

    def _compared(self, token: _Token) -> Expression:
        if self._next.word in ("null", "none"):
            word = "is null" if _COMPARE[token.word] == "==" else "is not null"
            self._refuse("no value can be compared with", f"Write {word}.")
        return self._sum()

    def _no_more_tests(self, found: Expression) -> Expression:
        if self._next.word in (*_COMPARE, "not", "in", "is", "between"):
            self._refuse("one test cannot follow another at", "Join them with and.")
        return found

    def _null_test(self, operand: Expression, place: Place) -> Expression:
        negated = self._take("not") is not None
        if not self._take("null", "none"):
            self._refuse("expected null or not null after is, found", "Compare with = instead.")
        return IsNull(operand, negated, place)

    def _constants(self) -> tuple[Scalar, ...]:
        hint = "Write constants in parentheses, like kind in ('office', 'lab')."
        self._expect("(", hint)
        found = [self._constant(hint)]
        while self._take(","):
            found.append(self._constant(hint))
        self._expect(")", hint)
        if len(found) > MAX_CONSTANTS:
            self._refuse(f"there are more than {MAX_CONSTANTS} constants before", "Use fewer.")
        return tuple(found)

    def _constant(self, hint: str) -> Scalar:
        if self._next.word in ("null", "none"):
            self._refuse("no value equals", "Test it separately: x is null or x in (...).")
        negative, node = self._take("-"), self._operand()
        if not isinstance(node, Constant) or node.value is None:
            self._at -= 1
            self._refuse("only constants can be listed, found", hint)
        if negative is None:
            return node.value
        if isinstance(node.value, str):
            self._at -= 1
            self._refuse("there is no negative of", hint)
        return -node.value

    def _sum(self) -> Expression:
        return self._chain(("+", "-"), self._product)

    def _product(self) -> Expression:
        return self._chain(("*", "/", "//", "%"), self._signed)

    def _chain(self, symbols: tuple[str, ...], inner: Callable[[], Expression]) -> Expression:
        found, before = inner(), self._depth
        while token := self._take(*symbols):
            # Each further operand nests the previous ones one level deeper.
            self._depth += 1
            right = self._nested(inner)
            symbol = cast("ArithmeticOperator", token.word)
            found = Arithmetic(symbol, found, right, token.place)
        self._depth = before
        return found

    def _signed(self) -> Expression:
        token = self._take("-")
        if token is None:
            return self._operand()
        return Negate(self._nested(self._signed), token.place)

    def _operand(self) -> Expression:
        token = self._next
        if token.kind in ("symbol", "end") and token.word != "(":
            doubled = token.text in ("*", "/") and self._tokens[self._at - 1].text == token.text
            hint = _HINTS["**"] if doubled else "Write a column, a number or a text in quotes."
            self._refuse("a value is missing before", hint)
        self._at += 1
        match token.kind:
            case "number":
                return Constant(_number(token), token.place)
            case "text":
                return Constant(_text(token), token.place)
            case "quoted":
                return Column(token.text[1:-1], token.place)
            case "word":
                return self._word(token)
        found = self._nested(self._condition)
        self._expect(")", "Close the parenthesis.")
        return found

    def _word(self, token: _Token) -> Expression:
        if self._next.word == "(" and token.word not in WORDS:
            return self._call(token)
        match token.word:
            case "true" | "false":
                return Constant(token.word == "true", token.place)
            case "null" | "none":
                self._at -= 1
                self._refuse("nothing can be computed from", "Write x is null, or x is not null.")
            case word if word in WORDS:
                self._at -= 1
                self._refuse("a value is missing before", "Write a column, a number or a text.")
        return Column(token.text, token.place)

    def _call(self, token: _Token) -> Expression:
        least, most = _arguments(token)
        self._take("(")
        arguments = [self._nested(self._condition)]
        while self._take(","):
            arguments.append(self._nested(self._condition))
        self._expect(")", "Close the parenthesis.")
        check_count(token.word, len(arguments), least, most, token.place)
        return Call(token.word, tuple(arguments), token.place)


def _arguments(token: _Token) -> tuple[int, int]:
    if token.word in MIN_AND_MAX or token.word == COALESCE:
        return 2, MAX_CONSTANTS
    if token.word not in FUNCTIONS:
        raise FunctionRefused(
            f"there is no function {token.text!r:.60}.",
            f"The functions are {', '.join((*FUNCTIONS, *sorted(MIN_AND_MAX), COALESCE))}.",
            token.place,
        )
    takes = FUNCTIONS[token.word].takes
    return len(takes) - FUNCTIONS[token.word].optional, len(takes)


def check_count(name: str, found: int, least: int, most: int, place: Place) -> None:
    """Refuse a call with too few or too many arguments."""
    if not least <= found <= most:
        count = f"{least}" if least == most else f"{least} to {most}"
        raise FunctionRefused(
            f"{name} takes {count} value{'s' if most > 1 else ''}, not {found}.", None, place
        )


def _number(token: _Token) -> int | float:
    if token.text.isdigit():
        if len(token.text) <= _DIGITS_OF_INTEGER and int(token.text) <= MAX_INTEGER:
            return int(token.text)
    elif len(token.text) <= MAX_STRING_LENGTH and abs(number := float(token.text)) != float("inf"):
        return number
    raise FunctionRefused("the number is too large.", f"The largest is {MAX_INTEGER}.", token.place)


def _text(token: _Token) -> str:
    quote = token.text[0]
    text = token.text[1:-1].replace(quote * 2, quote)
    if len(text) > MAX_STRING_LENGTH:
        raise FunctionRefused(
            f"the text is longer than {MAX_STRING_LENGTH:,} characters.", None, token.place
        )
    return text
