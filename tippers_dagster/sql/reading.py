"""From a user's text to sqlglot's tree, without anything that sqlglot could misinterpret.

Before parsing, quoted texts are taken out and known functions are renamed: sqlglot sees only the
structure, and neither interprets nor rewrites any of them. Limits keep parsing from taking for
ever.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from tippers_dagster.sql.functions import FUNCTIONS, GRAMMAR_CALLS, STATEMENTS, WRITES, words
from tippers_dagster.sql.refusals import RefusedSQL, place_of, unknown_function

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.tokens import Token

MAX_SQL_CHARACTERS = 50_000
MAX_TOKENS = 6_000
MAX_DEPTH = 30
"""Nested parentheses, brackets and CASEs; sqlglot parses them recursively."""
MAX_BRACKET_DEPTH = 5
MAX_BRACKETS = 300
"""Each level of nested brackets doubles the time that sqlglot takes, and long runs of brackets
take ever longer too."""

UNITS = words("year years month months day days hour hours minute minutes second seconds")

FUNCTION_PREFIX = "fn__"
"""Prefix of known functions while sqlglot parses, so that it recognises none of them."""
TEXT_ATOM = re.compile(r"zq([a-j]+)qz")
"""Stands for a quoted text while sqlglot parses; letters only, as it splits numbers off in
intervals."""

_LETTERS = str.maketrans("0123456789", "abcdefghij")
_DIGITS = str.maketrans("abcdefghij", "0123456789")

_JINJA = re.compile(r"\{\{|\{%|\{#")
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of control characters, characters that are invisible or change the writing
direction, lone surrogates, and unusual line ends."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read(sql: str) -> tuple[exp.Query, tuple[str, ...]]:
    """The tree of one query, and the texts that its atoms stand for.

    Raises
    ------
    RefusedSQL
        More than one statement, not a query, unknown functions, invisible characters, templates, or
        not SQL.
    """
    _check_text(sql)
    reading = _Reading(sql, _tokens(sql))
    _check_tokens(reading.tokens)
    _check_calls(reading.tokens)
    _take_out_texts(reading)
    _wrap_intervals(reading)
    return _parse(reading), tuple(reading.texts)


@dataclass
class _Reading:
    """The tokens of a text, prepared for sqlglot."""

    sql: str
    tokens: list[Token]
    texts: list[str] = field(default_factory=list)


# --- the text -----------------------------------------------------------------------------------
def _check_text(sql: str) -> None:
    if not sql.strip():
        raise RefusedSQL("empty", "There is no SQL.", "Write a SELECT.")
    if len(sql) > MAX_SQL_CHARACTERS:
        raise RefusedSQL(
            "length",
            f"The SQL has {len(sql):,} characters; {MAX_SQL_CHARACTERS:,} are allowed.",
            "Lists of values belong in a table, or in an index.",
        )
    for at, sign in enumerate(sql):
        if unicodedata.category(sign) in _INVISIBLE and sign not in "\n\t":
            raise _at(
                sql,
                at,
                "character",
                f"There is an invisible character (U+{ord(sign):04X}).",
                "Delete it, or write chr(...) if it is intended.",
            )
    found = _JINJA.search(sql)
    if found:
        raise _at(
            sql,
            found.start(),
            "jinja",
            f"{found[0]} looks like a template, which SQL here may not contain.",
            "Write table names directly. Inside a text, put a space between the braces.",
        )


def _at(sql: str, offset: int, reason: str, message: str, hint: str) -> RefusedSQL:
    line, column = place_of(sql, offset)
    return RefusedSQL(reason, message, hint, line=line, column=column)


# --- tokens -------------------------------------------------------------------------------------
def _tokens(sql: str) -> list[Token]:
    from sqlglot.dialects.postgres import Postgres
    from sqlglot.errors import TokenError

    try:
        return Postgres().tokenize(sql)
    except TokenError:
        raise RefusedSQL(
            "syntax",
            "A text, a quoted name or a comment is not closed.",
            "Every ' and \" needs a closing one; a ' inside a text is written ''.",
        ) from None


def _refuse(token: Token, sql_reason: str, message: str, hint: str = "") -> RefusedSQL:
    # sqlglot's column is that of the token's last character.
    width = token.end - token.start
    return RefusedSQL(sql_reason, message, hint, line=token.line, column=max(token.col - width, 1))


def _check_tokens(tokens: list[Token]) -> None:
    from sqlglot.tokens import TokenType as T

    while tokens and tokens[-1].token_type == T.SEMICOLON:
        tokens.pop()
    if not tokens:
        raise RefusedSQL("empty", "There is no SQL.", "Write a SELECT.")
    _check_first(tokens)
    if len(tokens) > MAX_TOKENS:
        raise RefusedSQL(
            "length",
            f"The SQL has {len(tokens):,} words and symbols; {MAX_TOKENS:,} are allowed.",
            "Lists of values belong in a table, or in an index.",
        )
    for token in tokens:
        token.comments = []
        _check_token(token)
    for token, after in pairwise(tokens):
        if (
            token.token_type == T.NUMBER
            and after.start == token.end + 1
            and _NAME.match(after.text)
        ):
            raise _refuse(token, "number", "A number is followed by letters.", "Write 1000 or 0.5.")
    _check_depth(tokens)
    _check_joins(tokens)


def _check_first(tokens: list[Token]) -> None:
    first = next((t for t in tokens if t.text != "("), tokens[0])
    word = first.text.lower()
    if word in ("select", "with"):
        return
    if word in STATEMENTS:
        raise _refuse(
            first,
            "statement",
            f"{word.upper()} is not a query.",
            "Write a SELECT (WITH ... SELECT is fine).",
        )
    raise _refuse(
        first, "statement", "The SQL does not begin with SELECT or WITH.", "Write a SELECT."
    )


def _check_token(token: Token) -> None:
    from sqlglot.tokens import TokenType as T

    kind, text = token.token_type, token.text
    if kind == T.SEMICOLON:
        raise _refuse(
            token, "several", "There is more than one statement.", "Write one SELECT without ;"
        )
    if kind in (T.BYTE_STRING, T.UNICODE_STRING, T.HEX_STRING, T.BIT_STRING, T.NATIONAL_STRING):
        raise _refuse(
            token,
            "quoting",
            "Texts with a prefix (E'', U&'', B'', X'', N'') are not allowed.",
            "Write '...': a backslash has no special meaning. For a line break write chr(10).",
        )
    if kind == T.HINT:
        raise _refuse(token, "syntax", "Hints are not allowed.", "Remove /*+ ... */.")
    if kind in (T.STRING, T.RAW_STRING, T.HEREDOC_STRING):
        return
    if not text.isascii():
        raise _refuse(
            token,
            "character",
            f"{text[:40]!r} contains characters that are not ASCII.",
            "Write names with a-z, 0-9 and _. Look for letters that only look like these.",
        )
    if any(sign in text for sign in "{}\\@$`") and text not in ("@>", "<@"):
        raise _refuse(token, "syntax", f"{text[:40]!r} is not allowed here.")
    if kind == T.TABLE_SAMPLE:
        raise _refuse(
            token,
            "chance",
            "TABLESAMPLE gives other rows each time.",
            "Filter by a column instead.",
        )
    if kind != T.IDENTIFIER and text.lower() in WRITES:
        raise _refuse(
            token,
            "write",
            f"{text.upper()} does not belong in a query: a query may only read.",
            f'If it is the name of a column, write it as "{text.lower()}".',
        )


def _check_depth(tokens: list[Token]) -> None:
    from sqlglot.tokens import TokenType as T

    opens, closes = (T.L_PAREN, T.L_BRACKET, T.CASE), (T.R_PAREN, T.R_BRACKET, T.END)
    deep = brackets = lists = 0
    for token in tokens:
        kind = token.token_type
        deep += (kind in opens) - (kind in closes)
        brackets += (kind == T.L_BRACKET) - (kind == T.R_BRACKET)
        lists += kind == T.L_BRACKET
        if deep > MAX_DEPTH or brackets > MAX_BRACKET_DEPTH or lists > MAX_BRACKETS:
            raise _refuse(
                token,
                "nesting",
                "Parentheses, brackets or CASEs are nested too deeply, or there are too many.",
                "Write parts of it as WITH name AS (SELECT ...).",
            )


def _check_joins(tokens: list[Token]) -> None:
    """Require each join's condition before the next join: other orders take sqlglot for ever."""
    from sqlglot.tokens import TokenType as T

    waiting: list[bool] = [False]
    free = False
    for token in tokens:
        kind = token.token_type
        if kind == T.L_PAREN:
            waiting.append(False)
        elif kind == T.R_PAREN and len(waiting) > 1:
            waiting.pop()
        elif kind in (T.CROSS, T.NATURAL):
            free = True
        elif kind == T.JOIN:
            if waiting[-1]:
                raise _refuse(
                    token,
                    "syntax",
                    "The JOIN before this one has no condition.",
                    "Write JOIN ... ON ... (or USING) before the next JOIN; CROSS JOIN has none.",
                )
            waiting[-1] = not free
            free = False
        elif kind in (T.ON, T.USING):
            waiting[-1] = False


# --- functions and texts ------------------------------------------------------------------------
def _check_calls(tokens: list[Token]) -> None:
    """Refuse unknown functions; rename the known ones so that sqlglot leaves them alone."""
    from sqlglot.tokens import TokenType as T

    for at, token in enumerate(tokens[:-1]):
        if tokens[at + 1].token_type != T.L_PAREN or not _NAME.fullmatch(token.text):
            continue
        quoted = token.token_type == T.IDENTIFIER
        name = token.text if quoted else token.text.lower()
        if not quoted and name in GRAMMAR_CALLS:
            continue
        if not _is_call(tokens, at):
            continue
        if name == "operator":
            raise _refuse(
                token, "operator", "OPERATOR(...) is not allowed.", "Write the operator itself."
            )
        if at and tokens[at - 1].token_type == T.DOT:
            raise _refuse(
                token,
                "function",
                f"The function {name}() has a schema.",
                "Write functions without a schema.",
            )
        if name not in FUNCTIONS:
            raise _refuse(token, "function", *unknown_function(name))
        token.text = FUNCTION_PREFIX + name
        token.token_type = T.VAR


def _is_call(tokens: list[Token], at: int) -> bool:
    """Whether a name before a parenthesis is a call, not an alias, a type or a WITH name."""
    from sqlglot.tokens import TokenType as T

    before = tokens[at - 1] if at else None
    if before is None or before.token_type in (T.ALIAS, T.DCOLON, T.R_PAREN):
        return False
    word = before.text.lower()
    names = (T.VAR, T.IDENTIFIER)
    if before.token_type in names and word not in GRAMMAR_CALLS:
        return False
    return not _names_columns(tokens, at + 1)


def _names_columns(tokens: list[Token], opening: int) -> bool:
    """Whether the parenthesis is a list of columns: ``name (a, b) AS (``, ``AS MATERIALIZED (``."""
    from sqlglot.tokens import TokenType as T

    deep = 0
    for at in range(opening, len(tokens)):
        deep += (tokens[at].token_type == T.L_PAREN) - (tokens[at].token_type == T.R_PAREN)
        if deep == 0:
            after = [t.text.lower() for t in tokens[at + 1 : at + 3]]
            return len(after) == 2 and after[0] == "as" and after[1] in ("(", "not", "materialized")
    return False


def _take_out_texts(reading: _Reading) -> None:
    from sqlglot.tokens import TokenType as T

    for before, token in zip([None, *reading.tokens], reading.tokens, strict=False):
        if token.token_type not in (T.STRING, T.RAW_STRING, T.HEREDOC_STRING):
            continue
        if before is not None and before.token_type == T.STRING:
            raise _refuse(token, "quoting", "Two texts follow each other.", "Join them with ||.")
        reading.texts.append(token.text)
        token.text = _text_atom(len(reading.texts) - 1)
        token.token_type = T.STRING


def _wrap_intervals(reading: _Reading) -> None:
    """Parenthesise an interval if sqlglot would take the next word for its unit."""
    from sqlglot.tokens import Token
    from sqlglot.tokens import TokenType as T

    done: list[Token] = []
    tokens = reading.tokens
    for at, token in enumerate(tokens):
        interval = [t.token_type for t in tokens[at : at + 2]] == [T.INTERVAL, T.STRING]
        after = tokens[at + 2] if interval and at + 2 < len(tokens) else None
        if after is not None and after.token_type == T.VAR and after.text.lower() not in UNITS:
            done.append(Token(T.L_PAREN, "(", token.line, token.col, token.start, token.end))
            tokens[at + 2 : at + 2] = [
                Token(T.R_PAREN, ")", after.line, after.col, after.start, after.start)
            ]
        done.append(token)
    reading.tokens = done


def _text_atom(number: int) -> str:
    return f"zq{str(number).translate(_LETTERS)}qz"


def insert_texts(written: str, texts: tuple[str, ...]) -> str:
    """The text that sqlglot wrote between quotes, with texts in place of their atoms."""
    return TEXT_ATOM.sub(lambda m: texts[int(m[1].translate(_DIGITS))].replace("'", "''"), written)


def _parse(reading: _Reading) -> exp.Query:
    from sqlglot import exp
    from sqlglot.dialects.postgres import Postgres
    from sqlglot.errors import ParseError

    try:
        trees = Postgres().parser().parse(reading.tokens, reading.sql)
    except (ParseError, TypeError) as error:
        # sqlglot raises TypeError for an operator without a right side.
        raise _unreadable(error, reading) from None
    except RecursionError:
        raise RefusedSQL("nesting", "The SQL is nested too deeply.", "Use WITH.") from None
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise RefusedSQL("statement", "This is not one query.", "Write one SELECT.")
    return trees[0]


def _unreadable(error: Exception, reading: _Reading) -> RefusedSQL:
    found = getattr(error, "errors", [])
    place = found[0] if found else {}
    line, column = place.get("line"), place.get("col")
    for token in reading.tokens:
        if (token.line, token.col) == (line, column):
            column = max(token.col - (token.end - token.start), 1)
            break
    return RefusedSQL(
        "syntax",
        "The SQL cannot be parsed from here on.",
        "Look for a missing comma, parenthesis or keyword just before.",
        line=line,
        column=column,
    )
