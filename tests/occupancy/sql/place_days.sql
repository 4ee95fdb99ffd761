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
from int_sessions
group by
    mac_address, local_date, space_id, sensor_id, is_room, room_type, is_faculty_office
order by mac_address, local_date
