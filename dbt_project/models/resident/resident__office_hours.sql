{%- set within = within_hours('09:00', '17:00') %}

select
    mac_address,
    count(*) as sessions,
    count(*) filter (where {{ within }}) as office_hours_sessions,
    {{ share('count(*) filter (where ' ~ within ~ ')', 'count(*)') }} as office_hours_share
from {{ ref('int_sessions') }}
where mac_address in {{ entities('resident__residents') }}
group by mac_address
