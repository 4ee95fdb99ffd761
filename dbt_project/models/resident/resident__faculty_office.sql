select
    mac_address,
    sum(sessions) as sessions,
    coalesce(sum(sessions) filter (where is_faculty_office), 0) as faculty_office_sessions,
    {{ share(
        'coalesce(sum(sessions) filter (where is_faculty_office), 0)', 'sum(sessions)'
    ) }} as faculty_office_share
from {{ ref('int_place_days') }}
where mac_address in {{ entities('resident__residents') }}
group by mac_address
