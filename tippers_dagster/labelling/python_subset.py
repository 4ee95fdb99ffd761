"""Parses a labelling function written in Python, without ever running it.

Its syntax tree is translated to a program node by node; anything without an equivalent is refused
with its place and a hint.
"""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Mapping, Sequence

from tippers_dagster.labelling.expressions.functions import FUNCTIONS, MIN_AND_MAX
from tippers_dagster.labelling.expressions.grammar import check_count
from tippers_dagster.labelling.expressions.nodes import (
    ABSTAIN,
    MAX_CONSTANTS,
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_NODES,
    MAX_STRING_LENGTH,
    MAX_TEXT_LENGTH,
    Arithmetic,
    ArithmeticOperator,
    Assign,
    Both,
    Branch,
    Call,
    Choose,
    Column,
    Compare,
    CompareOperator,
    Constant,
    Contains,
    Either,
    Expression,
    FunctionRefused,
    IsNull,
    Local,
    Negate,
    Not,
    OneOf,
    Place,
    Return,
    Scalar,
    Statement,
    Vote,
)

_ARITHMETIC: dict[type[ast.operator], ArithmeticOperator] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
}
_COMPARE: dict[type[ast.cmpop], CompareOperator] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_BITS = "Use and, or, not."
_OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Pow: ("powers are not allowed", "Write x * x, or let the rule's SQL compute it."),
    ast.BitAnd: ("`&` is not allowed", _BITS),
    ast.BitOr: ("`|` is not allowed", _BITS),
    ast.BitXor: ("`^` is not allowed", _BITS),
    ast.Invert: ("`~` is not allowed", _BITS),
    ast.UAdd: ("a plus sign before a value is not allowed", "Remove it."),
    ast.LShift: ("`<<` is not allowed", "Write a multiplication."),
    ast.RShift: ("`>>` is not allowed", "Write a division."),
    ast.MatMult: ("`@` is not allowed", "Write `*`."),
}
_LOOP = "Write out the conditions, or let the rule's SQL count."
_ONE_ROW = "A function sees only one row; let the rule's SQL aggregate."
_TRY = "Remove it: the function abstains automatically on a row with an error."
_NODES: dict[type[ast.AST], tuple[str, str]] = {
    ast.For: ("loops are not allowed", _LOOP),
    ast.AsyncFor: ("loops are not allowed", _LOOP),
    ast.While: ("loops are not allowed", _LOOP),
    ast.Break: ("loops are not allowed", _LOOP),
    ast.Continue: ("loops are not allowed", _LOOP),
    ast.ListComp: ("comprehensions are not allowed", _LOOP),
    ast.SetComp: ("comprehensions are not allowed", _LOOP),
    ast.DictComp: ("comprehensions are not allowed", _LOOP),
    ast.GeneratorExp: ("comprehensions are not allowed", _LOOP),
    ast.Try: ("try is not allowed", _TRY),
    ast.TryStar: ("try is not allowed", _TRY),
    ast.Raise: ("raise is not allowed", "Write return ABSTAIN."),
    ast.Assert: ("assert is not allowed", "Write if ...: return ABSTAIN."),
    ast.With: ("with is not allowed", "A function only reads its row."),
    ast.AsyncWith: ("with is not allowed", "A function only reads its row."),
    ast.Import: ("imports are not allowed", "Everything that can be used is already available."),
    ast.ImportFrom: (
        "imports are not allowed",
        "Everything that can be used is already available.",
    ),
    ast.FunctionDef: ("a second function is not allowed", "Write one function."),
    ast.AsyncFunctionDef: ("async is not allowed", "Write def labeling_function(row):"),
    ast.ClassDef: ("classes are not allowed", "Write def labeling_function(row):"),
    ast.Lambda: ("lambda is not allowed", "Write the expression where you need it."),
    ast.Await: ("await is not allowed", "A function only reads its row."),
    ast.Yield: ("yield is not allowed", "Use return."),
    ast.YieldFrom: ("yield is not allowed", "Use return."),
    ast.Global: ("global is not allowed", "All names are local to the function."),
    ast.Nonlocal: ("nonlocal is not allowed", "All names are local to the function."),
    ast.Delete: ("del is not allowed", "Remove it."),
    ast.Match: ("match is not allowed", "Use if, elif, else."),
    ast.NamedExpr: ("`:=` is not allowed", "Assign the name on a line before."),
    ast.AnnAssign: ("type annotations are not allowed", "Write name = value."),
    ast.JoinedStr: ("f-strings are not allowed", "Compare the values themselves."),
    ast.Dict: ("dictionaries are not allowed", "Use if, elif, else."),
    ast.List: ("a list is only allowed after in", "Write x in (1, 2)."),
    ast.Tuple: ("a tuple is only allowed after in", "Write x in (1, 2)."),
    ast.Set: ("a set is only allowed after in", "Write x in (1, 2)."),
    ast.Starred: ("`*` before a value is not allowed", "Write out the values."),
    ast.Slice: ("slices are not allowed", "Use .startswith(...) or .endswith(...)."),
}
_METHODS = ", ".join(name for name, function in FUNCTIONS.items() if function.method)
_CALLS = ", ".join(
    sorted({name for name, function in FUNCTIONS.items() if not function.method} | MIN_AND_MAX)
)
_NULL_TESTS = frozenset({"isna", "isnull", "notna", "notnull", "isnan"})
_SNORKEL = frozenset({"snorkel.labeling", "snorkel.labeling.lf"})


def parse_python(
    text: str, numbers: Mapping[str, int], values: Sequence[str]
) -> tuple[Statement, ...]:
    """The program of ``def labeling_function(row): ...``.

    Parameters
    ----------
    text
        One function with one parameter. It may be accompanied by Snorkel code without effect: the
        import, the decorator, ``ABSTAIN = -1`` and labels with their class numbers; and by named
        constants.
    numbers
        The class number of each label that it may vote for.
    values
        All labels of the concept.

    Raises
    ------
    FunctionRefused
        For the first thing outside the subset.
    """
    return _Reader(numbers, values).module(_syntax_tree(text))


def _syntax_tree(text: str) -> ast.Module:
    start = Place(1, 1)
    if len(text) > MAX_TEXT_LENGTH:
        raise FunctionRefused(
            f"the text is longer than {MAX_TEXT_LENGTH:,} characters.",
            "Let the rule's SQL compute parts of it.",
            start,
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text)
    except SyntaxError as error:
        place = Place(error.lineno or 1, error.offset or 1)
        raise FunctionRefused(f"this is not Python: {error.msg}.", None, place) from None
    except ValueError:
        raise FunctionRefused("the text contains invalid characters.", None, start) from None
    except (RecursionError, MemoryError):
        raise FunctionRefused("it is nested too deeply.", "Simplify it.", start) from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise FunctionRefused("it is too long.", "Shorten it.", start)
    return tree


def _place(node: ast.AST) -> Place:
    return Place(getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1)


def _refused(node: ast.AST, message: str, hint: str | None) -> FunctionRefused:
    return FunctionRefused(message, hint, _place(node))


def _not_allowed(node: ast.AST) -> FunctionRefused:
    message, hint = _NODES.get(
        type(node), ("this is not allowed", "Use comparisons, and, or, not, if, elif, else.")
    )
    return _refused(node, f"{message} in a labelling function.", hint)


class _Reader:
    """Translates one syntax tree to a program."""

    def __init__(self, numbers: Mapping[str, int], values: Sequence[str]) -> None:
        self._numbers, self._values = numbers, values
        self._row = "row"
        self._assigned: set[str] = set()
        self._constants: dict[str, tuple[Scalar, ...]] = {}
        self._depth = 0

    # --- the module ----------------------------------------------------------------------------
    def module(self, tree: ast.Module) -> tuple[Statement, ...]:
        """The function, and the constants before it."""
        functions = [s for s in tree.body if isinstance(s, ast.FunctionDef)]
        if not functions:
            for statement in tree.body:
                self._module_statement(statement)
            raise FunctionRefused(
                "there is no function.", "Write def labeling_function(row):", Place(1, 1)
            )
        if len(functions) > 1:
            raise _not_allowed(functions[1])
        function = functions[0]
        self._row = self._parameter(function)
        named = [self._module_statement(s) for s in tree.body if s is not function]
        self._decorators(function)
        return (*(s for s in named if s is not None), *self._body(function.body))

    def _parameter(self, function: ast.FunctionDef) -> str:
        given = function.args
        extra = (given.posonlyargs, given.kwonlyargs, given.defaults, given.vararg, given.kwarg)
        if len(given.args) != 1 or any(extra):
            raise _refused(
                function,
                "the function must take one parameter, the row.",
                "Write def labeling_function(row):",
            )
        for annotation in (given.args[0].annotation, function.returns):
            if annotation is not None and not isinstance(annotation, ast.Name):
                raise _refused(annotation, "this type annotation is not allowed.", "Remove it.")
        name = given.args[0].arg
        if name in self._values or name == "ABSTAIN" or name in FUNCTIONS or name in MIN_AND_MAX:
            raise _refused(given.args[0], f"{name!r} already has a meaning.", "Call it row.")
        return name

    def _decorators(self, function: ast.FunctionDef) -> None:
        for decorator in function.decorator_list:
            match decorator:
                case (
                    ast.Name(id="labeling_function")
                    | ast.Call(func=ast.Name(id="labeling_function"), args=[], keywords=[])
                ):
                    continue
                case ast.Call(
                    func=ast.Name(id="labeling_function"),
                    args=[],
                    keywords=[ast.keyword(arg="name", value=ast.Constant(value=str()))],
                ):
                    continue
            raise _refused(
                decorator,
                "only @labeling_function() is allowed before the function, without pre or "
                "resources.",
                "Remove it. A function that needs them belongs in git.",
            )

    def _module_statement(self, statement: ast.stmt) -> Statement | None:
        match statement:
            case ast.Expr(value=ast.Constant(value=str())):
                return None
            case ast.ImportFrom(module=str() as module, level=0) if module in _SNORKEL:
                return None
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                return self._named_constant(statement, name, value)
        if isinstance(statement, ast.Import | ast.ImportFrom):
            raise _not_allowed(statement)
        raise _refused(
            statement,
            "only constants are allowed outside the function.",
            "Move it into the function, or remove it.",
        )

    def _named_constant(self, statement: ast.stmt, name: str, value: ast.expr) -> Statement | None:
        if name in self._values or name == "ABSTAIN":
            number = self._values.index(name) if name in self._values else ABSTAIN
            if _constant(value) == number and not isinstance(_constant(value), bool):
                return None
            raise _refused(
                statement,
                f"{name} is {number} here, by the order of the concept's labels.",
                "Remove the line: the labels are already defined.",
            )
        self._check_free(statement, name)
        if isinstance(value, ast.Tuple | ast.List | ast.Set):
            self._constants[name] = self._listed(value)
            return None
        constant = _constant(value)
        if constant is None:
            raise _refused(
                value,
                "only a number, a text or a tuple of these is allowed outside the function.",
                "Move the line into the function.",
            )
        self._assigned.add(name)
        return Assign(name, Constant(constant, _place(value)), _place(statement))

    # --- statements ----------------------------------------------------------------------------
    def _body(self, body: Sequence[ast.stmt]) -> tuple[Statement, ...]:
        self._depth += 1
        found = [self._statement(statement) for statement in body]
        self._depth -= 1
        return tuple(statement for statement in found if statement is not None)

    def _statement(self, node: ast.stmt) -> Statement | None:
        self._check_depth(node)
        match node:
            case ast.Pass() | ast.Expr(value=ast.Constant(value=str())):
                return None
            case ast.Return():
                return self._return(node)
            case ast.If():
                return self._branch(node)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found = self._expression(value)
                return self._assign(node, name, found)
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                # Read as a value: it must already have one.
                left = self._name(
                    ast.Name(name, lineno=target.lineno, col_offset=target.col_offset)
                )
                joined = Arithmetic(
                    self._symbol(op, node), left, self._expression(value), _place(node)
                )
                return self._assign(node, name, joined)
            case ast.Assign() | ast.AugAssign():
                raise _refused(node, "only a single name can be assigned.", "Write name = value.")
            case ast.Expr(value=value) if type(value) not in _NODES:
                raise _refused(
                    node, "this line does nothing.", "Return a label, or remove the line."
                )
            case ast.Expr(value=value):
                raise _not_allowed(value)
        raise _not_allowed(node)

    def _assign(self, node: ast.stmt, name: str, value: Expression) -> Assign:
        self._check_free(node, name)
        self._assigned.add(name)
        return Assign(name, value, _place(node))

    def _check_free(self, node: ast.AST, name: str) -> None:
        taken = name in self._values or name in ("ABSTAIN", self._row)
        if taken or name in FUNCTIONS or name in MIN_AND_MAX or _hidden(name):
            raise _refused(node, f"{name!r} already has a meaning.", "Choose another name.")

    def _return(self, node: ast.Return) -> Return:
        if node.value is None:
            return Return(Constant(None, _place(node)), _place(node))
        return Return(self._voted(node.value), _place(node))

    def _voted(self, node: ast.expr) -> Expression:
        """A returned value; numbers are treated as in Snorkel."""
        match node:
            case ast.IfExp():
                self._check_depth(node)
                self._depth += 1
                found = Choose(
                    self._expression(node.test),
                    self._voted(node.body),
                    self._voted(node.orelse),
                    _place(node),
                )
                self._depth -= 1
                return found
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)):
                return Vote(ABSTAIN, _place(node))
            case ast.Constant(value=int() as number) if not isinstance(number, bool):
                known = number < len(self._values)
                hint = f"return {self._values[number]}" if known else "return and a label's name"
                raise _refused(node, "a label must be returned by name.", f"Write {hint}.")
            case ast.Constant(value=str()):
                raise _refused(node, "a label is written without quotes.", "Remove the quotes.")
        return self._expression(node)

    def _branch(self, node: ast.If) -> Branch:
        """``elif`` is parsed as an ``if`` in an ``else``; this flattens them."""
        cases, at = [], node
        while True:
            cases.append((self._expression(at.test), self._body(at.body)))
            match at.orelse:
                case [ast.If() as following]:
                    at = following
                case otherwise:
                    return Branch(tuple(cases), self._body(otherwise), _place(node))

    # --- expressions ---------------------------------------------------------------------------
    def _check_depth(self, node: ast.AST) -> None:
        if self._depth > MAX_DEPTH:
            raise _refused(node, "it is nested too deeply.", "Assign parts of it to names first.")

    def _expression(self, node: ast.expr) -> Expression:
        self._check_depth(node)
        self._depth += 1
        found = self._read(node)
        self._depth -= 1
        return found

    def _read(self, node: ast.expr) -> Expression:
        match node:
            case ast.Constant():
                return Constant(_checked_constant(node), _place(node))
            case ast.Name():
                return self._name(node)
            case ast.Subscript():
                return self._subscript(node)
            case ast.Attribute():
                return self._attribute(node)
            case ast.UnaryOp(op=ast.USub()):
                return Negate(self._expression(node.operand), _place(node))
            case ast.UnaryOp(op=ast.Not()):
                return Not(self._expression(node.operand), _place(node))
            case ast.UnaryOp():
                raise _refused(
                    node, f"{_OPERATORS[type(node.op)][0]}.", _OPERATORS[type(node.op)][1]
                )
            case ast.BinOp():
                symbol = self._symbol(node.op, node)
                left, right = self._expression(node.left), self._expression(node.right)
                return Arithmetic(symbol, left, right, _place(node))
            case ast.BoolOp():
                operands = tuple(self._expression(value) for value in node.values)
                return (Both if isinstance(node.op, ast.And) else Either)(operands, _place(node))
            case ast.Compare():
                return self._compare(node)
            case ast.IfExp():
                test, yes = self._expression(node.test), self._expression(node.body)
                return Choose(test, yes, self._expression(node.orelse), _place(node))
            case ast.Call():
                return self._call(node)
        raise _not_allowed(node)

    def _symbol(self, operator: ast.operator, node: ast.AST) -> ArithmeticOperator:
        if type(operator) not in _ARITHMETIC:
            message, hint = _OPERATORS[type(operator)]
            raise _refused(node, f"{message}.", hint)
        return _ARITHMETIC[type(operator)]

    def _name(self, node: ast.Name) -> Expression:
        name = node.id
        if name == "ABSTAIN":
            return Vote(ABSTAIN, _place(node))
        if name in self._numbers:
            return Vote(self._numbers[name], _place(node))
        if name in self._values:
            raise _refused(
                node,
                f"the function may not vote for {name}.",
                f"It may vote for {', '.join(self._numbers)}; or add {name} to its labels.",
            )
        if name in self._assigned:
            return Local(name, _place(node))
        raise self._unknown_name(node)

    def _unknown_name(self, node: ast.Name) -> FunctionRefused:
        name = node.id
        if name == self._row:
            return _refused(
                node,
                "the row itself is not a value.",
                f'Name one of its columns, as in {self._row}["sessions"].',
            )
        if name in self._constants:
            return _refused(node, f"{name!r} is only allowed after in.", f"Write x in {name}.")
        near = difflib.get_close_matches(name.upper(), [*self._numbers, "ABSTAIN"], n=1)
        hint = f'A column is written as {self._row}["{name}"].' if not _hidden(name) else None
        if near and name.isupper():
            hint = f"Did you mean {near[0]}?"
        return _refused(node, f"the name {name!r:.60} is unknown.", hint)

    def _subscript(self, node: ast.Subscript) -> Expression:
        match node:
            case ast.Subscript(value=ast.Name(id=self._row), slice=ast.Constant(value=str() as n)):
                return self._column(node, n)
            case ast.Subscript(value=ast.Name(id=self._row)):
                raise _refused(
                    node.slice,
                    "a column's name must be in quotes.",
                    f'Write {self._row}["sessions"].',
                )
            case ast.Subscript(slice=ast.Slice() as parts):
                raise _not_allowed(parts)
        raise _refused(
            node, "only the row can be subscripted with [...].", f'Write {self._row}["name"].'
        )

    def _column(self, node: ast.AST, name: str) -> Column:
        if len(name) > MAX_STRING_LENGTH or _hidden(name):
            raise _refused(node, "this is not a column of a rule.", "Name a column of the rule.")
        return Column(name, _place(node))

    def _attribute(self, node: ast.Attribute) -> Expression:
        match node:
            case ast.Attribute(value=ast.Name(id=self._row), attr=name):
                return self._column(node, name)
        if node.attr in FUNCTIONS and FUNCTIONS[node.attr].method:
            raise _refused(node, f"{node.attr} must be called.", f"Write .{node.attr}().")
        raise _refused(
            node,
            f"`.{node.attr:.60}` is not allowed in a labelling function.",
            f"Columns are written as {self._row}.name; methods of texts: {_METHODS}.",
        )

    def _compare(self, node: ast.Compare) -> Expression:
        if len(node.ops) == 1:
            return self._single_test(node, node.ops[0], node.left, node.comparators[0])
        rest = []
        for operator, operand in zip(node.ops, node.comparators, strict=True):
            if type(operator) not in _COMPARE:
                raise _refused(
                    operand, "in and is are not allowed in a chain.", "Join two tests with and."
                )
            rest.append((_COMPARE[type(operator)], self._compared(operand)))
        return Compare(self._compared(node.left), tuple(rest), _place(node))

    def _compared(self, node: ast.expr) -> Expression:
        if isinstance(node, ast.Constant) and node.value is None:
            raise _refused(node, "no value can be compared with None.", "Write x is None.")
        return self._expression(node)

    def _single_test(
        self, node: ast.Compare, operator: ast.cmpop, left: ast.expr, right: ast.expr
    ) -> Expression:
        place = _place(node)
        none = isinstance(right, ast.Constant) and right.value is None
        match operator:
            case ast.Is() | ast.IsNot() | ast.Eq() | ast.NotEq() if none:
                negated = isinstance(operator, ast.IsNot | ast.NotEq)
                return IsNull(self._expression(left), negated, place)
            case ast.Is() | ast.IsNot():
                raise _refused(node, "`is` only tests for None.", "Write == or !=.")
            case ast.In() | ast.NotIn():
                negated = isinstance(operator, ast.NotIn)
                return self._membership(left, right, negated, place)
        symbol = _COMPARE[type(operator)]
        return Compare(self._compared(left), ((symbol, self._compared(right)),), place)

    def _membership(
        self, left: ast.expr, right: ast.expr, negated: bool, place: Place
    ) -> Expression:
        operand = self._compared(left)
        match right:
            case ast.Tuple() | ast.List() | ast.Set():
                return OneOf(operand, self._listed(right), negated, place)
            case ast.Name(id=name) if name in self._constants:
                return OneOf(operand, self._constants[name], negated, place)
        return Contains(operand, self._compared(right), negated, place)

    def _listed(self, node: ast.Tuple | ast.List | ast.Set) -> tuple[Scalar, ...]:
        found = []
        for element in node.elts:
            constant = _constant(element)
            if constant is None:
                hint = "Write numbers or texts. Test for None with is None."
                raise _refused(element, "only constants can be listed.", hint)
            found.append(constant)
        if not 1 <= len(found) <= MAX_CONSTANTS:
            raise _refused(
                node, f"a list must have 1 to {MAX_CONSTANTS} constants, not {len(found)}.", None
            )
        return tuple(found)

    # --- calls ---------------------------------------------------------------------------------
    def _call(self, node: ast.Call) -> Expression:
        if node.keywords:
            raise _refused(node, "keyword arguments are not allowed.", "Remove the names.")
        match node.func:
            case ast.Name(id=name):
                return self._function(node, name)
            case ast.Attribute(value=ast.Name(id=self._row), attr="get"):
                return self._get(node)
            case ast.Attribute(attr=name) if name in _NULL_TESTS:
                raise _null_test(node)
            case ast.Attribute(value=value, attr=name) if (
                name in FUNCTIONS and FUNCTIONS[name].method
            ):
                self._check_count(node, name, 1)
                operands = (value, *node.args)
                return Call(name, tuple(map(self._expression, operands)), _place(node))
            case ast.Attribute(attr=name):
                raise _refused(
                    node,
                    f"`.{name:.60}()` is not allowed in a labelling function.",
                    f"Methods of texts: {_METHODS}; functions: {_CALLS}.",
                )
        raise _refused(node, "this cannot be called.", f"Functions: {_CALLS}.")

    def _function(self, node: ast.Call, name: str) -> Expression:
        if name in _NULL_TESTS:
            raise _null_test(node)
        if name in MIN_AND_MAX:
            check_count(name, len(node.args), 2, MAX_CONSTANTS, _place(node))
        elif name in FUNCTIONS and not FUNCTIONS[name].method:
            self._check_count(node, name, 0)
        else:
            hint = f"Functions: {_CALLS}."
            if name in ("any", "all", "sum"):
                hint = f"{_ONE_ROW} Use +, and, or."
            raise _refused(node, f"there is no function {name!r:.60}.", hint)
        return Call(name, tuple(map(self._expression, node.args)), _place(node))

    def _check_count(self, node: ast.Call, name: str, before: int) -> None:
        """``before``: number of values before the dot."""
        most = len(FUNCTIONS[name].takes) - before
        least = most - FUNCTIONS[name].optional
        check_count(name, len(node.args), least, most, _place(node))

    def _get(self, node: ast.Call) -> Expression:
        match node.args:
            case [ast.Constant(value=str() as name)]:
                return self._column(node, name)
            case [ast.Constant(value=str() as name), ast.Constant(value=None)]:
                return self._column(node, name)
        raise _refused(
            node,
            "get only takes the name of a column.",
            f'For a default, write 0 if {self._row}["name"] is None else {self._row}["name"].',
        )


def _null_test(node: ast.AST) -> FunctionRefused:
    return _refused(node, "test for null with is None.", 'Write row["name"] is None.')


def _hidden(name: str) -> bool:
    return name.startswith("__")


def _checked_constant(node: ast.Constant) -> Scalar | None:
    value = node.value
    match value:
        case None | bool():
            return value
        case int() if value <= MAX_INTEGER:
            return value
        case float() if value != float("inf"):
            return value
        case str() if len(value) <= MAX_STRING_LENGTH:
            return value
        case int() | float():
            raise _refused(node, "the number is too large.", f"The largest is {MAX_INTEGER}.")
        case str():
            raise _refused(node, f"the text is longer than {MAX_STRING_LENGTH:,} characters.", None)
    raise _refused(
        node, f"{type(value).__name__} is not allowed.", "Write a number, a text, True, False."
    )


def _constant(node: ast.expr) -> Scalar | None:
    """The value of a constant, including a minus sign; None for anything else."""
    match node:
        case ast.Constant():
            return _checked_constant(node)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as inner):
            value = _checked_constant(inner)
            return None if value is None or isinstance(value, str) else -value
    return None
