select
    address.mac_address,
    sessions.sensor as sensor_id,
    sessions.space as space_id,
    sessions.start_time,
    sessions.end_time,
    to_timestamp(sessions.start) as started_at,
    to_timestamp(sessions."end") as ended_at,
    (sessions."end" - sessions.start)::integer as seconds,
    sessions.is_open,
    sessions.start_time::date as local_date,
    extract(isodow from sessions.start_time)::smallint as weekday,
    places.is_room,
    places.room_type,
    places.is_faculty_office
    {{ added('sessions.kept') }}
from {{ source('lake', 'sessions') }} as sessions
inner join {{ source('lake', 'device_address') }} as address using (device)
inner join {{ ref('int_places') }} as places on places.space_id = sessions.space
-- A session that starts in an earlier chunk is there, too.
where not sessions.carried
