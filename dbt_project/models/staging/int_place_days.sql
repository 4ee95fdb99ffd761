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
