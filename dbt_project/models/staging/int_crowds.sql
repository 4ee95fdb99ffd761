{{ config(materialized='view') }}

-- They are counted by the regions that access points cover.
-- depends_on: {{ ref('stg_region_to_coverage') }}
select
    address.mac_address,
    crowds.space_name,
    crowds.co_located,
    crowds.co_located_share
from {{ source('lake', 'crowds') }} as crowds
inner join {{ source('lake', 'device_address') }} as address using (device)
