with rooms as (
    select
        mac_address,
        local_date,
        space_id,
        bool_or(is_room) and sum(seconds) >= 600 as counts,
        bool_or(room_type = 'office') as is_office,
        bool_or(room_type = 'student lab') as is_lab
    from {{ ref('int_place_days') }}
    where mac_address in {{ entities('student__students') }}
    group by mac_address, local_date, space_id
),

days as (
    select
        mac_address,
        local_date,
        count(*) filter (where counts) between 3 and 5
        and coalesce(bool_or(is_office) filter (where counts), false)
        and coalesce(bool_or(is_lab) filter (where counts), false) as both_kinds
    from rooms
    group by mac_address, local_date
)

select
    mac_address,
    count(*) as days,
    count(*) filter (where both_kinds) as office_and_lab_days,
    {{ share('count(*) filter (where both_kinds)', 'count(*)') }} as office_and_lab_share
from days
group by mac_address
