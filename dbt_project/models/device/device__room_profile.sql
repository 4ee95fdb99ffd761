{{ room_profile('device__devices') }}
