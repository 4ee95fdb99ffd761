{#- The memory of one sort or hash in PostgreSQL; DuckDB's is limited for all of them. -#}
{% macro allow_memory() -%}
    {%- if target.type == 'postgres' -%}
        set local work_mem = '{{ var("work_mem") }}'
    {%- endif -%}
{%- endmacro %}


{#- Statistics of a table that was just made; a view has none, and DuckDB keeps its own. -#}
{% macro analyze_table(relation) -%}
    {%- if target.type == 'postgres' and model.config.materialized != 'view' -%}
        analyze {{ relation }}
    {%- endif -%}
{%- endmacro %}
