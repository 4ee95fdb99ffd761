with presence as (
    select distinct
        sessions.mac_address,
        sessions.sensor_id,
        date_trunc('hour', sessions.start_time) as hour,
        regions.space_name
    from int_sessions as sessions
    inner join int_regions as regions using (sensor_id, space_id)
),

crowds as (
    select sensor_id, hour, space_name, count(*) as devices
    from presence
    group by sensor_id, hour, space_name
),

-- Pairs of devices are never made: the crowd of the hour, without the device itself.
company as (
    select own.mac_address, crowds.space_name, sum(crowds.devices) as devices
    from (
        select distinct mac_address, sensor_id, hour
        from presence
        where mac_address in (select distinct mac_address from int_sessions)
    ) as own
    inner join crowds using (sensor_id, hour)
    group by own.mac_address, crowds.space_name
),

itself as (
    select mac_address, space_name, count(*) as devices
    from presence
    where mac_address in (select distinct mac_address from int_sessions)
    group by mac_address, space_name
),

others as (
    select
        company.mac_address,
        company.space_name,
        company.devices - coalesce(itself.devices, 0) as devices
    from company
    left join itself using (mac_address, space_name)
),

ranked as (
    select
        *,
        sum(devices) over (partition by mac_address) as all_devices,
        row_number() over (
            partition by mac_address order by devices desc, space_name
        ) as place
    from others
    where devices > 0
)

select
    mac_address,
    space_name,
    all_devices::bigint as co_located,
    (devices)::double precision / nullif(all_devices, 0) as co_located_share
from ranked
where place = 1
