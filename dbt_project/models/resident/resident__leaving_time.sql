with days as (
    select
        mac_address,
        last_end >= local_date + time '17:00' and last_end < local_date + time '20:00' as evening
    from {{ ref('int_device_days') }}
    where mac_address in {{ entities('resident__residents') }}
)

select
    mac_address,
    count(*) as days,
    count(*) filter (where evening) as evening_days,
    {{ share('count(*) filter (where evening)', 'count(*)') }} as evening_share
from days
group by mac_address
