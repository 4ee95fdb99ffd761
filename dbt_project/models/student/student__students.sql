{{ derived_index('resident__residents', 'resident__role', ['STUDENT']) }}
