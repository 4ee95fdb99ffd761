select
    mac_address,
    device_kind,
    vendor_prefix,
    maker,
    maker_kind
from {{ source('lake', 'devices') }}
