with days as (
    select mac_address, seconds::double precision / sessions / 3600 as mean_hours
    from {{ ref('int_device_days') }}
    where mac_address in {{ entities('device__devices') }}
)

select
    mac_address,
    count(*) as days,
    count(*) filter (where mean_hours between 1.5 and 5) as medium_days,
    {{ share('count(*) filter (where mean_hours between 1.5 and 5)', 'count(*)') }} as medium_share,
    avg(mean_hours) as mean_daily_hours
from days
group by mac_address
