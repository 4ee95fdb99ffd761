with days as (
    select
        mac_address,
        local_date,
        count(*) filter (where seconds >= 600) as long_sessions,
        count(*) filter (where seconds >= 600 and is_faculty_office) as faculty_sessions
    from {{ ref('int_sessions') }}
    where mac_address in {{ entities('student__students') }}
    group by mac_address, local_date
)

select
    mac_address,
    sum(long_sessions)::bigint as long_sessions,
    sum(faculty_sessions)::bigint as faculty_sessions,
    {{ share('sum(faculty_sessions)', 'sum(long_sessions)') }} as faculty_share,
    count(*) filter (where faculty_sessions > 0) as faculty_days
from days
group by mac_address
