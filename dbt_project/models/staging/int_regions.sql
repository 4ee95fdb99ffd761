-- Only what devices were seen at is looked up: a few thousand pairs, not every session.
with seen as (
    select distinct sensor_id, space_id from {{ ref('int_place_days') }}
    where sensor_id is not null
)

select distinct on (seen.sensor_id, seen.space_id)
    seen.sensor_id,
    seen.space_id,
    coverage.region_id,
    coverage.space_name
from seen
inner join {{ ref('stg_region_to_coverage') }} as coverage on coverage.sensor = seen.sensor_id
-- The space itself where its access point covers it; else what the access point covers most.
order by
    seen.sensor_id,
    seen.space_id,
    (coverage.region_id = seen.space_id) desc,
    coverage.intersection_percentage desc nulls last,
    coverage.region_id
