{{ room_profile('people__people') }}
