{{ session_statistics('people__people') }}
