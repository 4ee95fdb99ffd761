{#-
    A column that a staging model gained, after its last one: what reads the others is not computed
    again because of it.
-#}
{% macro added(column) -%}
    , {{ column }}
{%- endmacro %}
