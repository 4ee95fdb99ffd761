select
    mac_address,
    sessions,
    accompanied_sessions,
    accompanied_share
from {{ ref('int_company') }}
where mac_address in {{ entities('student__students') }}
