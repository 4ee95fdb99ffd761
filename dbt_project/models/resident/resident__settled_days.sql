with rooms as (
    select
        mac_address,
        local_date,
        space_id,
        bool_or(is_room) and sum(seconds) >= 600 as counts,
        bool_or(room_type = 'office') as is_office,
        bool_or(is_faculty_office) as is_faculty_office
    from {{ ref('int_place_days') }}
    where mac_address in {{ entities('resident__residents') }}
    group by mac_address, local_date, space_id
),

days as (
    select
        mac_address,
        local_date,
        count(*) filter (where counts) between 1 and 2
        and coalesce(bool_or(is_office) filter (where counts), false)
        and not coalesce(bool_or(is_faculty_office) filter (where counts), false) as settled
    from rooms
    group by mac_address, local_date
)

select
    mac_address,
    count(*) as days,
    count(*) filter (where settled) as settled_days,
    {{ share('count(*) filter (where settled)', 'count(*)') }} as settled_share
from days
group by mac_address
