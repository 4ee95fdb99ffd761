with weekdays as (
    select
        mac_address,
        coalesce(sum(sessions) filter (where on_weekday), 0) as weekday_sessions,
        coalesce(
            sum(sessions) filter (where on_weekday and room_type = 'student lab'), 0
        ) as lab_sessions
    from (
        select *, extract(isodow from local_date) <= 5 as on_weekday
        from {{ ref('int_place_days') }}
    ) as place_days
    where mac_address in {{ entities('student__students') }}
    group by mac_address
)

select
    mac_address,
    weekday_sessions,
    lab_sessions,
    {{ share('lab_sessions', 'weekday_sessions') }} as lab_share
from weekdays
