{{ room_profile('student__students') }}
