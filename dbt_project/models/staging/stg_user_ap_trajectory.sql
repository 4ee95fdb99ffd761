{{ config(materialized='view') }}

{%- set names = var('session_columns') %}

select
    {{ source_column(names, 'mac_address') }}::text as mac_address,
    {{ source_column(names, 'sensor_id') }}::text as sensor_id,
    {{ source_column(names, 'start_time') }}::timestamp as start_time,
    {{ source_column(names, 'end_time') }}::timestamp as end_time,
    {{ source_column(names, 'space_id') }}::text as space_id
from {{ source('source', 'user_ap_trajectory') }}
