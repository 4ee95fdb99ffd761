select distinct mac_address
from {{ ref('int_device_days') }}
