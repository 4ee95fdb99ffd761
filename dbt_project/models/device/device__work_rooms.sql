{%- set work_rooms = "room_type in ('office', 'conference room', 'meeting room', 'student lab')" %}

select
    mac_address,
    sum(sessions) as sessions,
    coalesce(sum(sessions) filter (where {{ work_rooms }}), 0) as work_room_sessions,
    {{ share(
        'coalesce(sum(sessions) filter (where ' ~ work_rooms ~ '), 0)', 'sum(sessions)'
    ) }} as work_room_share
from {{ ref('int_place_days') }}
where mac_address in {{ entities('device__devices') }}
group by mac_address
