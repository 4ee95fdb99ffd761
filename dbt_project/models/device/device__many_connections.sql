select
    mac_address,
    sum(sessions) as sessions,
    count(distinct sensor_id) as access_points
from {{ ref('int_place_days') }}
where mac_address in {{ entities('device__devices') }}
group by mac_address
