select
    mac_address,
    (max(local_date) - min(local_date))::integer as span_days,
    count(distinct space_id) filter (where is_room) as rooms
from {{ ref('int_place_days') }}
where mac_address in {{ entities('people__people') }}
group by mac_address
