{{ session_statistics('student__students') }}
