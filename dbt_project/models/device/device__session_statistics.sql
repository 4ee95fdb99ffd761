{{ session_statistics('device__devices') }}
