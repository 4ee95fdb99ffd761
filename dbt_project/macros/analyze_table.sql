{#- Statistics of a table that was just made; a view has none. -#}
{% macro analyze_table(relation) -%}
    {%- if model.config.materialized != 'view' -%}
        analyze {{ relation }}
    {%- endif -%}
{%- endmacro %}
