{{ config(materialized='view') }}

{%- if target.type == 'duckdb' %}
select
    address.mac_address,
    sessions.sensor as sensor_id,
    sessions.start_time,
    case when not sessions.is_open then sessions.end_time end as end_time,
    sessions.space as space_id
from {{ source('lake', 'sessions') }} as sessions
inner join {{ source('lake', 'device_address') }} as address using (device)
where not sessions.carried
{%- else %}
{%- set names = var('session_columns') %}

select
    {{ source_column(names, 'mac_address') }}::text as mac_address,
    {{ source_column(names, 'sensor_id') }}::text as sensor_id,
    {{ source_column(names, 'start_time') }}::timestamp as start_time,
    {{ source_column(names, 'end_time') }}::timestamp as end_time,
    {{ source_column(names, 'space_id') }}::text as space_id
from {{ source('source', 'user_ap_trajectory') }}
{%- endif %}
