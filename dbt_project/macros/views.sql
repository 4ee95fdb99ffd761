{#-
    A view in PostgreSQL is replaced in place while its columns stay: dbt's own way drops it, and
    with it the views that read it, which dbt does not make again.
-#}
{% materialization view, adapter='postgres' -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set view = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- if existing is not none and not can_be_replaced(existing, view, sql) %}
        {%- do adapter.drop_relation(existing) %}
    {%- endif %}
    {% call statement('main') -%}
        create or replace view {{ view }} as (
            {{ sql }}
        )
    {%- endcall %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [view]}) }}
{%- endmaterialization %}


{#- Whether a relation is a view with the columns that a query gives, or the first of these. -#}
{% macro can_be_replaced(existing, view, sql) -%}
    {%- set trial = make_intermediate_relation(view) -%}
    {%- do drop_relation_if_exists(load_cached_relation(trial)) -%}
    {%- do run_query(get_create_view_as_sql(trial, sql)) -%}
    {%- set kinds = [] -%}
    {%- for relation in [existing, trial] -%}
        {%- set columns = [] -%}
        {%- for column in adapter.get_columns_in_relation(relation) -%}
            {%- do columns.append([column.name, column.data_type]) -%}
        {%- endfor -%}
        {%- do kinds.append(columns) -%}
    {%- endfor -%}
    {%- do adapter.drop_relation(trial) -%}
    {{ return(existing.is_view and kinds[0] == kinds[1][:kinds[0] | length]) }}
{%- endmacro %}
