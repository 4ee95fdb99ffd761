"""PostgreSQL's words: the functions and types allowed in user SQL, and the reserved words.

Only listed functions are allowed. A function is listed if it computes from its arguments alone: it
reads no file, setting or other server, does not wait, runs no SQL from text and is not random.
(``now()`` is the exception; it is constant within a statement.)
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text, separated by white space."""
    return frozenset(text.split())


AGGREGATES = words(
    """
    any_value array_agg avg bool_and bool_or corr count covar_pop covar_samp cume_dist dense_rank
    every first_value grouping json_agg json_object_agg jsonb_agg jsonb_object_agg lag last_value
    lead max min mode nth_value ntile percent_rank percentile_cont percentile_disc rank regr_avgx
    regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy row_number
    stddev stddev_pop stddev_samp string_agg sum var_pop var_samp variance
    """
)
"""Aggregates and window functions."""

_NUMBERS = """
    abs acos asin atan atan2 cbrt ceil ceiling cos cot degrees div exp factorial floor gcd lcm ln
    log log10 mod pi power radians round scale sign sin sqrt tan trim_scale trunc width_bucket
"""
_TEXTS = """
    ascii bit_length btrim char_length character_length chr concat concat_ws initcap
    left length lower lpad ltrim md5 octet_length regexp_count regexp_instr regexp_like
    regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table
    regexp_substr repeat replace reverse right rpad rtrim split_part starts_with string_to_array
    string_to_table strpos substr to_hex to_number translate upper
"""
_TIMES = """
    age date date_bin date_part date_trunc isfinite justify_days justify_hours justify_interval
    make_date make_interval make_time make_timestamp make_timestamptz now timezone to_char to_date
    to_timestamp
"""
_CHOICES = "coalesce greatest least nullif num_nonnulls num_nulls"
_LISTS = """
    array_append array_cat array_length array_lower array_ndims array_position array_positions
    array_prepend array_remove array_replace array_to_string array_upper cardinality
    generate_series generate_subscripts unnest
"""
_JSON = """
    json_array_elements json_array_elements_text json_array_length json_build_array
    json_build_object json_each json_each_text json_extract_path json_extract_path_text
    json_object_keys json_typeof jsonb_array_elements jsonb_array_elements_text
    jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text
    jsonb_extract_path jsonb_extract_path_text jsonb_object_keys jsonb_strip_nulls jsonb_typeof
    row_to_json to_json to_jsonb
"""
FUNCTIONS = AGGREGATES.union(*map(words, (_NUMBERS, _TEXTS, _TIMES, _CHOICES, _LISTS, _JSON)))
"""All functions that may be called."""

GRAMMAR_FUNCTIONS = words(
    """
    btrim extract like_escape ltrim overlaps overlay position rtrim similar_to_escape substring
    timezone
    """
)
"""Functions behind SQL syntax: EXTRACT, LIKE ... ESCAPE, AT TIME ZONE and so on."""

GRAMMAR_CALLS = words(
    """
    all and any array as between by case cast cube distinct else end escape except exists extract
    filter from group having ilike in intersect interval is join lateral like limit materialized
    not offset on only or order over overlaps overlay position recursive rollup row select sets
    similar some substring symmetric then to trim union using values when where with within zone
    """
)
"""SQL keywords that may precede a parenthesis and are not functions."""

SIZED = frozenset({"lpad", "repeat", "rpad"})
"""Functions with a length as argument: one call could fill the server's memory."""

MAX_TEXT_LENGTH = 1000

TYPES = {
    "BIGINT": "bigint",
    "BOOLEAN": "boolean",
    "CHAR": "char",
    "DATE": "date",
    "DECIMAL": "numeric",
    "DOUBLE": "double precision",
    "FLOAT": "real",
    "INT": "integer",
    "INTERVAL": "interval",
    "JSON": "json",
    "JSONB": "jsonb",
    "SMALLINT": "smallint",
    "TEXT": "text",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMPTZ": "timestamptz",
    "UUID": "uuid",
    "VARCHAR": "varchar",
}
"""The types that a cast may name, by sqlglot's names; arrays of them are allowed too."""

SYSTEM_COLUMNS = frozenset({"cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"})

STATEMENTS = words(
    """
    abort alter analyze begin call checkpoint close cluster comment commit copy create deallocate
    declare delete discard do drop end execute explain fetch grant import insert listen load lock
    merge move notify prepare reassign refresh reindex release reset revoke rollback savepoint
    security set show start truncate unlisten update vacuum
    """
)
"""First words of statements that are not queries."""

WRITES = words("alter call copy create delete drop grant insert into merge revoke truncate update")
"""Words that occur in no query, unless quoted."""

RESERVED = words(
    """
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit
    boolean both case cast char character check coalesce collate collation column concurrently
    constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user dec decimal default deferrable desc distinct do else end except
    exists extract false fetch float for foreign freeze from full grant greatest group grouping
    having ilike in initially inner inout int integer intersect interval into is isnull join json
    json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar
    json_serialize json_table json_value lateral leading least left like limit localtime
    localtimestamp merge_action national natural nchar none normalize not notnull null nullif
    numeric offset on only or order out outer overlaps overlay placing position precision primary
    real references returning right row select session_user setof similar smallint some substring
    symmetric system_user table tablesample then time timestamp to trailing treat trim true union
    unique user using values varchar variadic verbose when where window with xmlattributes
    xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize
    xmltable
    """
)
"""Words that must be quoted to be names (PostgreSQL 18, pg_get_keywords())."""
