with rooms as (
    select
        mac_address,
        sum(sessions) as sessions,
        coalesce(sum(sessions) filter (where room_type in (
            'elevator', 'rest room', 'kitchen', 'conference room', 'meeting room'
        )), 0) as common_sessions,
        coalesce(
            sum(sessions) filter (where room_type in ('office', 'student lab')), 0
        ) as work_sessions
    from {{ ref('int_place_days') }}
    where mac_address in {{ entities('people__people') }}
    group by mac_address
)

select
    mac_address,
    sessions,
    common_sessions,
    {{ share('common_sessions', 'sessions') }} as common_share,
    work_sessions,
    {{ share('work_sessions', 'sessions') }} as work_share
from rooms
