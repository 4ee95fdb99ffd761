select
    address.mac_address,
    sessions.sensor as sensor_id,
    sessions.start_time,
    case when not sessions.is_open then sessions.end_time end as end_time,
    sessions.space as space_id
    {{ added('sessions.kept') }}
from {{ source('lake', 'sessions') }} as sessions
inner join {{ source('lake', 'device_address') }} as address using (device)
where not sessions.carried
