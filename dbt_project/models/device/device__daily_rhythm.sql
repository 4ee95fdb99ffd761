{{ daily_rhythm('device__devices') }}
