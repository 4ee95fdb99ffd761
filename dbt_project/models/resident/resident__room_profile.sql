{{ room_profile('resident__residents') }}
