{{ config(materialized='view') }}

{{ optional_source('faculty_data', ['name', 'office']) }}
