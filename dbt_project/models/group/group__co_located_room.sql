select
    mac_address,
    space_name,
    co_located,
    co_located_share
from {{ ref('int_crowds') }}
where mac_address in {{ entities('people__people') }}
