{%- set beginning = "interval_begin_time at time zone " ~ dbt.string_literal(var('timezone')) %}

select
    space as space_id,
    interval_seconds,
    {{ beginning }} as beginning,
    {{ beginning }} + interval_seconds * interval '1 second' as "end",
    number_connections as number_of_connections
from {{ source('lake', 'occupancy') }}
