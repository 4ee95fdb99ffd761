with days as (
    select mac_address, seconds <= sessions * 3600::bigint as short
    from {{ ref('int_device_days') }}
    where mac_address in {{ entities('device__devices') }}
)

select
    mac_address,
    count(*) as days,
    count(*) filter (where short) as short_days,
    {{ share('count(*) filter (where short)', 'count(*)') }} as short_day_share
from days
group by mac_address
