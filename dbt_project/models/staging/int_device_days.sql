select
    address.mac_address,
    days.local_date,
    days.sessions,
    days.seconds,
    days.first_start,
    days.last_end
from {{ source('lake', 'device_days') }} as days
inner join {{ source('lake', 'device_address') }} as address using (device)
