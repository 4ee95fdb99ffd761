with types as (
    -- A room may have several types in the source: the one of the first room id counts.
    select distinct on (building_room) building_room, lower(btrim(type)) as room_type
    from {{ ref('stg_space_metadata') }}
    where building_room is not null
    order by building_room, roomid, typeid
),

offices as (
    select distinct office as building_room from {{ ref('stg_faculty_data') }}
)

select distinct on (space.space_id)
    space.space_id,
    space.space_name,
    space.building_room,
    space.building_room is not null as is_room,
    types.room_type,
    offices.building_room is not null as is_faculty_office
from {{ ref('stg_space') }} as space
left join types using (building_room)
left join offices using (building_room)
where space.space_id is not null
order by space.space_id, space.building_room
