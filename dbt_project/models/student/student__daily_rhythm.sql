{{ daily_rhythm('student__students') }}
