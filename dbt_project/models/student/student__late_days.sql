select
    mac_address,
    count(*) as days,
    count(*) filter (where last_end >= local_date + time '20:30') as late_days
from {{ ref('int_device_days') }}
where mac_address in {{ entities('student__students') }}
group by mac_address
