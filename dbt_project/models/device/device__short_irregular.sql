with spaces as (
    select
        mac_address,
        space_id,
        count(*) as sessions,
        count(*) filter (where seconds <= 2 * 3600) as short_sessions
    from {{ ref('int_sessions') }}
    where mac_address in {{ entities('device__devices') }}
    group by mac_address, space_id
)

select
    mac_address,
    sum(sessions)::bigint as sessions,
    sum(short_sessions)::bigint as short_sessions,
    {{ share('sum(short_sessions)', 'sum(sessions)') }} as short_share,
    count(*) as spaces
from spaces
group by mac_address
