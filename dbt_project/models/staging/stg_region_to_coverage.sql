select
    region_id,
    space_name,
    wapcov_id,
    sensor,
    intersection_percentage::double precision as intersection_percentage
from (
    {{ optional_source(
        'region_to_coverage',
        ['region_id', 'space_name', 'wapcov_id', 'sensor', 'intersection_percentage']
    ) }}
) as coverage
