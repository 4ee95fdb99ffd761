{{ optional_source('space_metadata', ['roomid', 'typeid', 'type', 'building_room']) }}
