"""Checks PostgreSQL's parse tree of a query before any of it runs.

The guard checks what sqlglot parsed. PostgreSQL may parse the same text differently: ``q.f`` is
``f(q)`` where ``q`` has no column ``f``. So a temporary view is created from the query, which runs
nothing, and the view's parse tree (``pg_rewrite.ev_action``) is checked: every node, function,
operator, cast, type and relation in it must be listed. (The dependencies in the catalogue are not
enough: PostgreSQL records none for built-in functions.)

One query returns what is wrong, for previews and, as a macro, for dbt: there it runs in the
transaction that then creates the table, under the same locks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tippers_dagster.sql.functions import FUNCTIONS, GRAMMAR_FUNCTIONS, TYPES, words
from tippers_dagster.sql.refusals import RefusedSQL, place_of

VIEW = "judged_query"
"""The temporary view; it ends with the transaction."""

MAKE_VIEW = (f"CREATE TEMPORARY VIEW {VIEW} AS SELECT 1 AS one FROM (\n", "\n) AS query")
"""Text before and after a query. A subquery's columns may have any names and types."""

NODES = words(
    """
    AGGREF ALIAS ARRAYCOERCEEXPR ARRAYEXPR BOOLEANTEST BOOLEXPR CASEEXPR CASETESTEXPR CASEWHEN
    COALESCEEXPR COERCEVIAIO COLLATEEXPR COMMONTABLEEXPR CONST DISTINCTEXPR FROMEXPR FUNCEXPR
    GROUPINGFUNC GROUPINGSET JOINEXPR MINMAXEXPR NAMEDARGEXPR NULLIFEXPR NULLTEST OPEXPR PARAM
    QUERY RANGETBLENTRY RANGETBLFUNCTION RANGETBLREF RELABELTYPE ROWCOMPAREEXPR ROWEXPR
    RTEPERMISSIONINFO SCALARARRAYOPEXPR SETOPERATIONSTMT SORTGROUPCLAUSE SQLVALUEFUNCTION SUBLINK
    SUBSCRIPTINGREF TARGETENTRY VAR WINDOWCLAUSE WINDOWFUNC
    """
)
"""Nodes in the parse tree of a query that only computes."""

OPERATORS = words(
    """
    + - * / % || = <> < > <= >= ~ ~* !~ !~* ~~ ~~* !~~ !~~* -> ->> #> #>> @> <@ && ? ?| ?&
    """
)

_MORE_TYPES = words("record unknown")
"""Rows of a query, and text literals without a type."""

_CALLS = words("aggfnoid funcid winfnoid")
_FUNCTION_FIELDS = words("endInRangeFunc startInRangeFunc")
_OPERATOR_FIELDS = words("aggsortop eqop opno opnos sortop")
_TYPE_FIELDS = words(
    """
    aggargtypes aggtype array_typeid casetype coalescetype colTypes coltypes consttype ctecoltypes
    element_typeid funccoltypes funcresulttype minmaxtype opresulttype paramtype refcontainertype
    refelemtype refrestype resulttype row_typeid type typeId vartype wintype
    """
)
"""Fields of the nodes above that hold OIDs."""

_JUDGEMENT = r"""
WITH tree AS MATERIALIZED (
    SELECT ev_action::text AS written FROM pg_catalog.pg_rewrite
    WHERE ev_class = 'pg_temp.{view}'::regclass
),
-- Names inside the tree have a backslash before each blank: none of them passes for a field.
field AS MATERIALIZED (
    SELECT DISTINCT part[1] AS name, id::oid AS id
    FROM tree, regexp_matches(written, ':(\w+) (\d+|\(o [\d ]+\))(?=[ )}}])', 'g') AS found(part),
        regexp_split_to_table(btrim(part[2], '(o )'), ' ') AS id
    WHERE id <> '0'
),
relation AS MATERIALIZED (
    SELECT c.oid, n.nspname || '.' || c.relname AS name
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid IN (SELECT id FROM field WHERE field.name = 'relid')
),
readable AS MATERIALIZED (SELECT oid FROM relation WHERE name = ANY({relations})),
plain_type AS MATERIALIZED (
    SELECT oid, typarray FROM pg_catalog.pg_type
    WHERE (typnamespace = 'pg_catalog'::regnamespace AND typname = ANY({types}))
    OR oid IN (SELECT atttypid FROM pg_catalog.pg_attribute JOIN readable ON attrelid = readable.oid
               WHERE attnum > 0)
    OR typrelid IN (SELECT oid FROM readable)
),
usable_type AS MATERIALIZED (
    SELECT oid FROM plain_type UNION SELECT typarray FROM plain_type
),
conversion AS MATERIALIZED (
    SELECT castfunc AS oid FROM pg_catalog.pg_cast
    WHERE castsource IN (SELECT oid FROM usable_type)
    AND casttarget IN (SELECT oid FROM usable_type)
),
-- 0 and 3: a function that is called, also by a form of the language; else it converts.
converted AS MATERIALIZED (
    SELECT part[1]::oid AS oid, bool_or(part[2] IN ('0', '3')) AS called
    FROM tree, regexp_matches(
        written, ':funcid (\d+) :funcresulttype \d+ :funcretset \w+ '
        ':funcvariadic \w+ :funcformat (\d)', 'g'
    ) AS found(part)
    GROUP BY 1
),
function AS (
    SELECT p.proname, p.pronamespace, p.provolatile, field.name AS field,
        EXISTS (SELECT FROM conversion JOIN converted USING (oid)
                WHERE oid = p.oid AND NOT called) AS converts
    FROM field JOIN pg_catalog.pg_proc AS p ON p.oid = field.id
    WHERE field.name = ANY({function_fields})
)
SELECT 'node' AS what, part[1] AS name
FROM tree, regexp_matches(written, '\{{([A-Z_]+)', 'g') AS found(part)
WHERE part[1] <> ALL({nodes})
UNION SELECT 'write', 'data' FROM tree
WHERE written ~ ':commandType [^1]|:resultRelation [^0]|:utilityStmt [^<]|:rowMarks [^<]'
UNION SELECT 'system', 'column' FROM tree WHERE written ~ ':varattno -'
UNION SELECT 'relation', coalesce(relation.name, id::text)
FROM field LEFT JOIN relation ON relation.oid = id
WHERE field.name = 'relid' AND id NOT IN (SELECT oid FROM readable)
UNION SELECT 'function', proname::text FROM function
WHERE NOT converts AND (
    pronamespace <> 'pg_catalog'::regnamespace OR provolatile = 'v'
    OR proname <> ALL(CASE WHEN field = ANY({calls}) THEN {functions} ELSE ARRAY['in_range'] END)
)
UNION SELECT 'operator', coalesce(oprname::text, id::text)
FROM field LEFT JOIN pg_catalog.pg_operator AS o ON o.oid = id
WHERE field.name = ANY({operator_fields}) AND (
    oprname <> ALL({operators}) OR oprnamespace <> 'pg_catalog'::regnamespace OR o.oid IS NULL
)
UNION SELECT 'type', format_type(id, NULL) FROM field
WHERE field.name = ANY({type_fields}) AND id NOT IN (SELECT oid FROM usable_type)
ORDER BY 1, 2
"""


_HOOK = "{{ refuse_side_effects"


def violations_query(relations: Iterable[str], functions: Iterable[str]) -> str:
    """A query that returns whatever is not allowed in the query of the temporary view.

    Its columns are ``what`` (a kind of object) and ``name``; an allowed query returns no rows.


    Parameters
    ----------
    relations
        The tables that may be read, as ``schema.table``.
    The functions that the text calls; others are refused even if they are listed.
        The functions that the text calls; others are refused even if they are on the list.
    """
    return _written(
        _array(relations), _array(FUNCTIONS.intersection(functions) | GRAMMAR_FUNCTIONS)
    )


def violation_error(user_sql: str, found: Sequence[tuple[str, str]]) -> RefusedSQL:
    """The refusal for rows of :func:`violations_query`, placed at the first such name in the text.

    Parameters
    ----------
    found
        Kinds of objects and their names; not empty.
    """
    order = ("function", "relation", "type", "operator", "write", "system", "node")
    what, name = min(found, key=lambda row: order.index(row[0]))
    message = {
        "function": f"The database reads {name} as a call of the function {name}()",
        "relation": f"The database reads the table {name}, which the query does not name",
        "type": f"Values of the type {name} are not allowed",
        "operator": f"The operator {name} is not allowed",
    }.get(what, "The database finds SQL syntax that is not allowed")
    hints = {
        "function": "Expected a column name after the dot. Check its spelling.",
        "type": "Convert the value with CAST(x AS text), or leave it out.",
    }
    at = re.search(rf"\b{re.escape(name)}\b", user_sql, re.IGNORECASE)
    line, column = place_of(user_sql, at.start()) if at else (None, None)
    return RefusedSQL(what, f"{message} here.", hints.get(what), line=line, column=column)


def macro() -> str:
    """The macro ``refuse_side_effects(relations, functions)`` of a rendered dbt project.

    A model calls it before its table is created; it fails the model with what is not allowed. Each
    engine has its own ``found_side_effects``.
    """
    asked = _written("{{ relations }}", "{{ functions }}")
    before, after = MAKE_VIEW
    return f"""\
{{#- Generated by tippers_dagster/sql/parse_tree.py, which explains it. -#}}
{{% macro refuse_side_effects(relations, functions) -%}}
    {{%- if execute -%}}
        {{%- set side_effects = adapter.dispatch("found_side_effects", "tippers") -%}}
        {{%- set found = side_effects(relations, functions) -%}}
        {{%- if found.rows | length -%}}
            {{%- set names = [] -%}}
            {{%- for row in found.rows -%}}
                {{%- do names.append("the " ~ row[0] ~ " " ~ row[1]) -%}}
            {{%- endfor -%}}
            {{%- do exceptions.raise_compiler_error(
                "This query contains what is not allowed: " ~ names | join(", ")
            ) -%}}
        {{%- endif -%}}
    {{%- endif -%}}
{{%- endmacro %}}


{{% macro postgres__found_side_effects(relations, functions) -%}}
    {{%- do run_query({before!r} ~ sql ~ {after!r}) -%}}
    {{%- set asked -%}}
{asked}
    {{%- endset -%}}
    {{%- set found = run_query(asked) -%}}
    {{%- do run_query("DROP VIEW {VIEW}") -%}}
    {{{{ return(found) }}}}
{{%- endmacro %}}
"""


def hook(relations: Iterable[str], functions: Iterable[str]) -> str:
    """The call of the macro of :func:`macro`; arguments as for :func:`violations_query`."""
    called = FUNCTIONS.intersection(functions) | GRAMMAR_FUNCTIONS
    return f"{_HOOK}({_array(relations)!r}, {_array(called)!r}) }}}}"


def is_violations_hook(sql: str) -> bool:
    """Whether a model's hook is one of :func:`hook`."""
    return sql.startswith(_HOOK)


def _written(relations: str, functions: str) -> str:
    return _JUDGEMENT.format(
        view=VIEW,
        relations=relations,
        functions=functions,
        nodes=_array(NODES),
        operators=_array(OPERATORS),
        types=_array(_TYPE_NAMES),
        calls=_array(_CALLS),
        function_fields=_array(_CALLS | _FUNCTION_FIELDS),
        operator_fields=_array(_OPERATOR_FIELDS),
        type_fields=_array(_TYPE_FIELDS),
    ).strip()


def _array(names: Iterable[str]) -> str:
    quoted = (f"'{name.replace(chr(39), chr(39) * 2)}'" for name in sorted(names))
    return f"ARRAY[{', '.join(quoted)}]::text[]"


_OWN_NAMES = {
    "bigint": "int8",
    "boolean": "bool",
    "char": "bpchar",
    "double precision": "float8",
    "integer": "int4",
    "real": "float4",
    "smallint": "int2",
}
"""How ``pg_type`` calls types that have another name in SQL."""

_TYPE_NAMES = _MORE_TYPES.union(_OWN_NAMES.get(name, name) for name in TYPES.values())
