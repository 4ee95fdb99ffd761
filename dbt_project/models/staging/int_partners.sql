{{ config(materialized='view') }}

select
    address.mac_address,
    partners.sessions,
    partners.shared_sessions,
    partners.shared_share,
    partners.shared_spaces,
    partners.mean_hours,
    partners.partner_mean_hours
from {{ source('lake', 'partners') }} as partners
inner join {{ source('lake', 'device_address') }} as address using (device)
