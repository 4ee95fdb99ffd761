with days as (
    select
        mac_address,
        local_date,
        coalesce(sum(seconds) filter (where room_type = 'student lab'), 0) >= 600 as in_lab
    from {{ ref('int_place_days') }}
    where mac_address in {{ entities('resident__residents') }}
    group by mac_address, local_date
)

select
    mac_address,
    count(*) as days,
    count(*) filter (where in_lab) as lab_days,
    {{ share('count(*) filter (where in_lab)', 'count(*)') }} as lab_day_share
from days
group by mac_address
