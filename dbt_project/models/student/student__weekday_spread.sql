with weekdays as (
    select
        mac_address,
        extract(isodow from local_date) as weekday,
        sum(sessions) as sessions
    from {{ ref('int_device_days') }}
    where mac_address in {{ entities('student__students') }}
    group by mac_address, extract(isodow from local_date)
)

select
    mac_address,
    sum(sessions)::bigint as sessions,
    max(sessions)::bigint as busiest_weekday_sessions,
    {{ share('max(sessions)', 'sum(sessions)') }} as busiest_weekday_share
from weekdays
group by mac_address
