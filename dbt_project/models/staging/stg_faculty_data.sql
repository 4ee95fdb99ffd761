{{ optional_source('faculty_data', ['name', 'office']) }}
