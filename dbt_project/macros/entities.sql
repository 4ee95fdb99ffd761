{#-
    The keys of an index, as a subquery: `where mac_address in {{ entities('device__devices') }}`.
    The set stays in the database however large it is.
-#}
{% macro entities(index, key='mac_address') -%}
    (select {{ adapter.quote(key) }} from {{ ref(index) }})
{%- endmacro %}
