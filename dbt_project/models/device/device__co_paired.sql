select
    mac_address,
    sessions,
    shared_sessions,
    shared_share,
    shared_spaces,
    mean_hours,
    partner_mean_hours
from {{ ref('int_partners') }}
where mac_address in {{ entities('device__devices') }}
