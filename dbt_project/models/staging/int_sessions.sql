{{ config(
    materialized='view' if target.type == 'duckdb' else 'table',
    indexes=[
        {'columns': ['mac_address', 'started_at']},
        {'columns': ['space_id', 'started_at']},
    ]
) }}

{%- if target.type == 'duckdb' %}

-- The lake has only usable sessions.
select
    address.mac_address,
    sessions.sensor as sensor_id,
    sessions.space as space_id,
    sessions.start_time,
    sessions.end_time,
    make_timestamptz(sessions."start" * 1000000) as started_at,
    make_timestamptz(sessions."end" * 1000000) as ended_at,
    (sessions."end" - sessions."start")::integer as seconds,
    sessions.is_open,
    sessions.start_time::date as local_date,
    isodow(sessions.start_time)::smallint as weekday,
    places.is_room,
    places.room_type,
    places.is_faculty_office
from {{ source('lake', 'sessions') }} as sessions
inner join {{ source('lake', 'device_address') }} as address using (device)
inner join {{ ref('int_places') }} as places on places.space_id = sessions.space
where not sessions.carried

{%- else %}

{%- set zone = dbt.string_literal(var('timezone')) %}
{%- set longest = "interval '" ~ var('longest_session_seconds') ~ " seconds'" %}

with plausible as (
    select
        timestamp '{{ var("earliest_time") }}' as earliest,
        {%- if var('latest_time', none) %}
        timestamp '{{ var("latest_time") }}' as latest
        {%- else %}
        (now() at time zone {{ zone }}) + interval '1 day' as latest
        {%- endif %}
),

usable as (
    select sessions.*
    from {{ ref('stg_user_ap_trajectory') }} as sessions, plausible
    where btrim(mac_address, E' \t\n\r\f\x0b') <> ''
        and start_time >= earliest
        and start_time < latest
        and (end_time is null or (end_time < latest and end_time <= start_time + {{ longest }}))
),

-- Computed once per row: inlined, they would be computed again wherever they are named.
instants as materialized (
    select
        *,
        {{ first_instant('start_time') }} as began,
        {{ first_instant('end_time') }} as first_end
    from usable
),

-- An end that happens twice is the second one where the first would be before the start.
bounded as (
    select
        *,
        case
            when end_time is null
                then began + interval '{{ var("open_session_seconds") }} seconds'
            when first_end < began
                then greatest(first_end, end_time at time zone {{ zone }})
            else first_end
        end as ended
    from instants
),

seconds as (
    select
        mac_address,
        sensor_id,
        space_id,
        start_time,
        coalesce(end_time, ended at time zone {{ zone }}) as end_time,
        date_trunc('second', began) as started_at,
        date_trunc('second', ended + interval '999999 microseconds') as ended_at,
        end_time is null as is_open
    from bounded
    where ended >= began
)

select
    sessions.mac_address,
    sessions.sensor_id,
    sessions.space_id,
    sessions.start_time,
    sessions.end_time,
    sessions.started_at,
    -- A session without length is present in a moment.
    greatest(sessions.ended_at, sessions.started_at + interval '1 second') as ended_at,
    greatest(date_part('epoch', sessions.ended_at - sessions.started_at), 1)::integer as seconds,
    sessions.is_open,
    sessions.start_time::date as local_date,
    extract(isodow from sessions.start_time)::smallint as weekday,
    places.is_room,
    places.room_type,
    places.is_faculty_office
from seconds as sessions
inner join {{ ref('int_places') }} as places using (space_id)
-- What looks at one device after the other finds its sessions side by side.
order by sessions.mac_address, sessions.started_at

{%- endif %}
