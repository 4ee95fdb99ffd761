{{ config(materialized='view') }}

select
    address.mac_address,
    company.sessions,
    company.accompanied_sessions,
    company.accompanied_share
from {{ source('lake', 'company') }} as company
inner join {{ source('lake', 'device_address') }} as address using (device)
