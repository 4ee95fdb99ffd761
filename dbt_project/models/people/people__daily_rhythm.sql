{{ daily_rhythm('people__people') }}
