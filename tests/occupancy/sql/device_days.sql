select
    mac_address,
    local_date,
    count(*)::integer as sessions,
    sum(seconds)::bigint as seconds,
    min(start_time) as first_start,
    max(end_time) as last_end
from int_sessions
group by mac_address, local_date
order by mac_address, local_date
