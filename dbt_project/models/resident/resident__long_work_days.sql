with days as (
    select
        mac_address,
        local_date,
        bool_or(seconds >= 2 * 3600 and room_type in ('office', 'meeting room')) as long_work
    from {{ ref('int_sessions') }}
    where mac_address in {{ entities('resident__residents') }}
    group by mac_address, local_date
)

select
    mac_address,
    count(*) as days,
    count(*) filter (where long_work) as long_work_days
from days
group by mac_address
