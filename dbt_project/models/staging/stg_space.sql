{%- set names = var('space_columns') %}

select
    {{ source_column(names, 'space_id') }}::text as space_id,
    {{ source_column(names, 'space_name') }}::text as space_name,
    {{ source_column(names, 'parent_space_id') }}::text as parent_space_id,
    {{ source_column(names, 'building_room') }}::text as building_room
from {{ source('source', 'space') }}
