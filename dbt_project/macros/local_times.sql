{#-
    The instant of a local time, the first of two where the clock was set back. PostgreSQL itself
    takes the second. Three hours earlier the clock still showed the offset from before a change;
    with no change near both readings agree, and nothing more is computed.
-#}
{% macro first_instant(local_time) -%}
    {%- set zone = dbt.string_literal(var('timezone')) -%}
    {%- set before = "((" ~ local_time ~ " - interval '3 hours') at time zone " ~ zone ~ " + interval '3 hours')" -%}
    {%- set after = "(" ~ local_time ~ " at time zone " ~ zone ~ ")" -%}
    case
        when {{ before }} <> {{ after }} and {{ before }} at time zone {{ zone }} = {{ local_time }}
            then {{ before }}
        else {{ after }}
    end
{%- endmacro %}


{#- Whether a session lies within hours of the day on which it starts: [first, last]. -#}
{% macro within_hours(first, last) -%}
    (start_time::time >= time '{{ first }}' and end_time <= local_date + time '{{ last }}')
{%- endmacro %}


{#- A share, null where there is nothing to take it of. -#}
{% macro share(part, whole) -%}
    ({{ part }})::double precision / nullif({{ whole }}, 0)
{%- endmacro %}
