{{ config(
    materialized='view' if target.type == 'duckdb' else 'table',
    indexes=[{'columns': ['mac_address', 'local_date']}]
) }}

{%- if target.type == 'duckdb' %}

select
    address.mac_address,
    days.local_date,
    days.space as space_id,
    days.sensor as sensor_id,
    places.is_room,
    places.room_type,
    places.is_faculty_office,
    days.sessions,
    days.seconds
from {{ source('lake', 'place_days') }} as days
inner join {{ source('lake', 'device_address') }} as address using (device)
inner join {{ ref('int_places') }} as places on places.space_id = days.space

{%- else %}

select
    mac_address,
    local_date,
    space_id,
    sensor_id,
    is_room,
    room_type,
    is_faculty_office,
    count(*)::integer as sessions,
    sum(seconds)::bigint as seconds
from {{ ref('int_sessions') }}
group by
    mac_address, local_date, space_id, sensor_id, is_room, room_type, is_faculty_office
order by mac_address, local_date

{%- endif %}
