{{ daily_rhythm('resident__residents') }}
