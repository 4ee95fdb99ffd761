"""Checks DuckDB's parse tree of a query before any of it runs, as ``sql/parse_tree.py`` does.

The sandbox is what keeps a query from doing harm. This check keeps the list of what SQL may call
one list, whatever the engine: a query that DuckDB reads otherwise than the guard did is refused.
``json_serialize_sql`` gives the tree, and runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from tippers_dagster.sql.functions import FUNCTIONS, GRAMMAR_FUNCTIONS, TYPES, words

NODES = words(
    """
    ARRAY_CONSTRUCTOR ARRAY_EXTRACT ARRAY_SLICE ASCENDING BASE_TABLE BETWEEN CASE CASE_EXPR CAST
    COLLATE COLUMN_REF COMPARE_BETWEEN COMPARE_DISTINCT_FROM COMPARE_EQUAL COMPARE_GREATERTHAN
    COMPARE_GREATERTHANOREQUALTO COMPARE_IN COMPARE_LESSTHAN COMPARE_LESSTHANOREQUALTO
    COMPARE_NOTEQUAL COMPARE_NOT_BETWEEN COMPARE_NOT_DISTINCT_FROM COMPARE_NOT_IN COMPARISON
    CONJUNCTION CONJUNCTION_AND CONJUNCTION_OR CONSTANT CTE_NODE DESCENDING DISTINCT_MODIFIER EMPTY
    EXPRESSION_LIST FUNCTION GROUPING_FUNCTION JOIN LIMIT_MODIFIER OPERATOR OPERATOR_CAST
    OPERATOR_COALESCE OPERATOR_IS_NOT_NULL OPERATOR_IS_NULL OPERATOR_NOT OPERATOR_NULLIF
    ORDER_DEFAULT ORDER_MODIFIER RECURSIVE_CTE_NODE SELECT_NODE SET_OPERATION_NODE STAR SUBQUERY
    TABLE_FUNCTION TYPE VALUE_CONSTANT WINDOW WINDOW_AGGREGATE WINDOW_CUME_DIST WINDOW_FIRST_VALUE
    WINDOW_LAG WINDOW_LAST_VALUE WINDOW_LEAD WINDOW_NTH_VALUE WINDOW_NTILE WINDOW_PERCENT_RANK
    WINDOW_RANK WINDOW_RANK_DENSE WINDOW_ROW_NUMBER
    """
)
"""Classes and types of nodes in the tree of a query that only computes."""

CALLS = words(
    """
    !~~ !~~* % && * + - / // <@ @> -> ->> || ~~ ~~* ~~~
    count_star date_part get_current_timestamp list_value quantile_cont quantile_disc
    regexp_full_match regexp_matches row to_days to_hours to_microseconds to_minutes to_months
    to_seconds to_years trim unnest
    """
)
"""Functions behind operators and SQL syntax, by DuckDB's names."""

_MORE_TYPES = words("list")
"""The type of an array, around that of its items."""

_JUDGEMENT = """
WITH tree AS MATERIALIZED (
    SELECT id, parent, key, type, atom ->> '$' AS name
    FROM json_tree(json_serialize_sql({sql}))
),
relation AS (
    SELECT "table".name, "schema".name AS "schema"
    FROM tree AS "table" LEFT JOIN tree AS "schema"
        ON "schema".parent = "table".parent AND "schema".key = 'schema_name'
    WHERE "table".key = 'table_name'
        AND EXISTS (SELECT 1 FROM tree AS node WHERE node.parent = "table".parent
                    AND node.key = 'type' AND node.name = 'BASE_TABLE')
),
named_query AS (
    SELECT entry.name FROM tree AS entry
    JOIN tree AS value ON value.parent = entry.parent AND value.key = 'value'
        AND value.type = 'OBJECT'
    WHERE entry.key = 'key' AND entry.type = 'VARCHAR'
    UNION SELECT name FROM tree WHERE key = 'cte_name'
)
SELECT 'node' AS what, name FROM tree
WHERE key IN ('class', 'type') AND type = 'VARCHAR' AND NOT list_contains({nodes}, name)
UNION SELECT 'syntax', 'error' FROM tree WHERE key = 'error' AND name = 'true'
UNION SELECT 'relation', concat_ws('.', nullif("schema", ''), name) FROM relation
WHERE CASE WHEN coalesce("schema", '') = '' THEN name NOT IN (SELECT name FROM named_query)
    ELSE NOT list_contains({relations}, "schema" || '.' || name) END
UNION SELECT 'function', name FROM tree
WHERE key = 'function_name' AND NOT list_contains({functions}, name)
    AND NOT list_contains({calls}, name)
UNION SELECT 'function', name FROM tree
WHERE key = 'schema' AND name <> ''
UNION SELECT 'type', lower(name) FROM tree
WHERE key = 'type_name' AND name <> '' AND NOT list_contains({types}, lower(name))
ORDER BY 1, 2
"""


def violations_query(sql: str, relations: Iterable[str], functions: Iterable[str]) -> str:
    """A query that returns whatever is not allowed in another query, given as text.

    Parameters
    ----------
    sql
        The query.
    relations, functions
        As for PostgreSQL's ``violations_query``.
    """
    called = FUNCTIONS.intersection(functions) | GRAMMAR_FUNCTIONS
    return _written(_text(sql), _array(relations), _array(called))


def macro() -> str:
    """The implementation for DuckDB of the macro ``refuse_side_effects``."""
    asked = _written(
        "{{ dbt.string_literal(dbt.escape_single_quotes(sql)) }}",
        "{{ relations }}",
        "{{ functions }}",
    )
    return f"""\
{{% macro duckdb__found_side_effects(relations, functions) -%}}
    {{%- set asked -%}}
{asked}
    {{%- endset -%}}
    {{{{ return(run_query(asked)) }}}}
{{%- endmacro %}}
"""


def _written(sql: str, relations: str, functions: str) -> str:
    return _JUDGEMENT.format(
        sql=sql,
        relations=relations,
        functions=functions,
        nodes=_array(NODES),
        calls=_array(CALLS),
        types=_array(_TYPE_NAMES),
    ).strip()


def _array(names: Iterable[str]) -> str:
    return f"ARRAY[{', '.join(map(_text, sorted(names)))}]::text[]"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_TYPE_NAMES = _MORE_TYPES.union(
    *((name.lower(), written) for name, written in TYPES.items()),
    ("double", "float", "int"),
)
