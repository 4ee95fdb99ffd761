{#- The name that the source gives one of our columns, quoted. -#}
{% macro source_column(names, column) -%}
    {{ adapter.quote((names or {}).get(column, column)) }}
{%- endmacro %}


{#-
    A table of the source that a campus may lack: all its columns as text, or no row at all.
-#}
{% macro optional_source(table, columns) -%}
    {%- set relation = source('source', table) -%}
    {#- The lake's database has every table, empty where the campus lacks it. -#}
    {%- set present = not execute or target.type == 'duckdb' or load_relation(relation) is not none -%}
    select
    {%- for column in columns %}
        {{ adapter.quote(column) if present else 'null' }}::text as {{ column }}{{ ',' if not loop.last }}
    {%- endfor %}
    {%- if present %}
    from {{ relation }}
    {%- else %}
    where false
    {%- endif %}
{%- endmacro %}
