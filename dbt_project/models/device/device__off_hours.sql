with sessions as (
    select
        mac_address,
        local_date,
        start_time::time >= time '22:00' or end_time::time <= time '05:00' as off_hours
    from {{ ref('int_sessions') }}
    where mac_address in {{ entities('device__devices') }}
),

days as (
    select
        mac_address,
        local_date,
        count(*) as sessions,
        count(*) filter (where off_hours) as off_hours_sessions
    from sessions
    group by mac_address, local_date
)

select
    mac_address,
    sum(sessions)::bigint as sessions,
    sum(off_hours_sessions)::bigint as off_hours_sessions,
    {{ share('sum(off_hours_sessions)', 'sum(sessions)') }} as off_hours_share,
    count(*) filter (where off_hours_sessions > 0) as off_hours_dates
from days
group by mac_address
