{#- Whether a session lies within hours of the day on which it starts: [first, last]. -#}
{% macro within_hours(first, last) -%}
    (start_time::time >= time '{{ first }}' and end_time <= local_date + time '{{ last }}')
{%- endmacro %}


{#- A share, null where there is nothing to take it of. -#}
{% macro share(part, whole) -%}
    ({{ part }})::double precision / nullif({{ whole }}, 0)
{%- endmacro %}
