with rooms as (
    select
        mac_address,
        local_date,
        space_id,
        bool_or(is_room) as is_room,
        sum(sessions) as sessions
    from {{ ref('int_place_days') }}
    where mac_address in {{ entities('resident__residents') }}
    group by mac_address, local_date, space_id
),

days as (
    select
        mac_address,
        local_date,
        count(*) filter (where is_room) as rooms,
        coalesce(max(sessions) filter (where is_room), 0) * 2 <= sum(sessions) as scattered
    from rooms
    group by mac_address, local_date
)

select
    mac_address,
    count(*) as days,
    avg(rooms)::double precision as mean_rooms,
    count(*) filter (where scattered) as scattered_days,
    {{ share('count(*) filter (where scattered)', 'count(*)') }} as scattered_share
from days
group by mac_address
