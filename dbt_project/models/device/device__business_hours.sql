{%- set within = "weekday <= 5 and " ~ within_hours('09:00', '21:00') %}

select
    mac_address,
    count(*) as sessions,
    count(*) filter (where {{ within }}) as business_sessions,
    {{ share('count(*) filter (where ' ~ within ~ ')', 'count(*)') }} as business_share
from {{ ref('int_sessions') }}
where mac_address in {{ entities('device__devices') }}
group by mac_address
