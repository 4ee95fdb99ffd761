{{ config(
    materialized='view' if target.type == 'duckdb' else 'table',
    indexes=[{'columns': ['mac_address', 'local_date']}]
) }}

{%- if target.type == 'duckdb' %}

select
    address.mac_address,
    days.local_date,
    days.sessions,
    days.seconds,
    days.first_start,
    days.last_end
from {{ source('lake', 'device_days') }} as days
inner join {{ source('lake', 'device_address') }} as address using (device)

{%- else %}

select
    mac_address,
    local_date,
    count(*)::integer as sessions,
    sum(seconds)::bigint as seconds,
    min(start_time) as first_start,
    max(end_time) as last_end
from {{ ref('int_sessions') }}
group by mac_address, local_date
order by mac_address, local_date

{%- endif %}
