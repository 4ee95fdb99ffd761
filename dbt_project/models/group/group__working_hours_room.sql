with regions as (
    select sessions.mac_address, regions.space_name, count(*) as sessions
    from {{ ref('int_sessions') }} as sessions
    inner join {{ ref('int_regions') }} as regions using (sensor_id, space_id)
    where sessions.mac_address in {{ entities('people__people') }}
        and sessions.weekday <= 5
        and {{ within_hours('10:00', '17:00') }}
    group by sessions.mac_address, regions.space_name
),

ranked as (
    select
        *,
        sum(sessions) over (partition by mac_address) as device_sessions,
        row_number() over (
            partition by mac_address order by sessions desc, space_name
        ) as place
    from regions
)

select
    mac_address,
    case when sessions >= 0.8 * device_sessions then space_name end as space_name,
    space_name as dominant_region,
    device_sessions::bigint as sessions,
    {{ share('sessions', 'device_sessions') }} as sessions_share
from ranked
where place = 1
