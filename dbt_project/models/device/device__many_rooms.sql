with rooms as (
    select
        mac_address,
        local_date,
        space_id,
        bool_or(is_room) and sum(seconds) >= 2 * 60 as counts
    from {{ ref('int_place_days') }}
    where mac_address in {{ entities('device__devices') }}
    group by mac_address, local_date, space_id
),

days as (
    select mac_address, local_date, count(*) filter (where counts) as rooms
    from rooms
    group by mac_address, local_date
)

select
    mac_address,
    count(*) as active_days,
    count(*) filter (where rooms >= 6) as many_room_days,
    {{ share('count(*) filter (where rooms >= 6)', 'count(*)') }} as many_room_share,
    avg(rooms)::double precision as mean_rooms
from days
group by mac_address
