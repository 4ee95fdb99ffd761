with regions as (
    select places.mac_address, regions.space_name, sum(places.seconds) / 60.0 as minutes
    from {{ ref('int_place_days') }} as places
    inner join {{ ref('int_regions') }} as regions using (sensor_id, space_id)
    where places.mac_address in {{ entities('people__people') }}
    group by places.mac_address, regions.space_name
),

ranked as (
    select
        *,
        sum(minutes) over device as device_minutes,
        count(*) over device as device_regions,
        row_number() over (
            partition by mac_address order by minutes desc, space_name
        ) as place
    from regions
    where minutes >= 10
    window device as (partition by mac_address)
)

select
    mac_address,
    case when minutes >= 0.8 * device_minutes and device_regions <= 5 then space_name end
        as space_name,
    space_name as dominant_region,
    device_minutes::double precision as minutes,
    (minutes / device_minutes)::double precision as minutes_share,
    device_regions as regions
from ranked
where place = 1
