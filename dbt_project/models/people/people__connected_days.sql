select mac_address, count(*) as days
from {{ ref('int_device_days') }}
where mac_address in {{ entities('people__people') }}
group by mac_address
