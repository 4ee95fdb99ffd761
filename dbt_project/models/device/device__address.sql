with days as (
    select
        mac_address,
        count(*) as days
    from {{ ref('int_device_days') }}
    where mac_address in {{ entities('device__devices') }}
    group by mac_address
)

select
    mac_address,
    devices.device_kind,
    devices.vendor_prefix,
    devices.maker,
    devices.maker_kind,
    days.days,
    days.days = 1 as one_day_only
from days
inner join {{ ref('int_devices') }} as devices using (mac_address)
