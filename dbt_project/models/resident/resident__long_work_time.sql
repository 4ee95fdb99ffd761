with times as (
    select
        mac_address,
        sum(seconds) as seconds,
        coalesce(sum(seconds) filter (
            where seconds >= 2 * 3600
                and room_type in ('office', 'conference room', 'meeting room')
        ), 0) as long_work_seconds
    from {{ ref('int_sessions') }}
    where mac_address in {{ entities('resident__residents') }}
    group by mac_address
)

select
    mac_address,
    seconds / 3600.0::double precision as hours,
    long_work_seconds / 3600.0::double precision as long_work_hours,
    {{ share('long_work_seconds', 'seconds') }} as long_work_share
from times
