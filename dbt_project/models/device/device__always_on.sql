select
    mac_address,
    sum(seconds)::double precision / sum(sessions) / 3600 as mean_hours,
    count(distinct local_date) as dates,
    count(distinct sensor_id) as access_points
from {{ ref('int_place_days') }}
where mac_address in {{ entities('device__devices') }}
group by mac_address
