{{ derived_index('people__people', 'people__visitor_or_resident', ['RESIDENT']) }}
