{{ session_statistics('resident__residents') }}
