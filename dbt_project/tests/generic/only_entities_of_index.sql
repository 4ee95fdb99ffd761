{#- Finds keys that are not in the index. -#}
{% test only_entities_of_index(model, column_name, index) %}
select made.{{ column_name }}
from {{ model }} as made
where made.{{ column_name }} is not null
    and not exists (
        select 1 from {{ index }} as entity where entity.{{ column_name }} = made.{{ column_name }}
    )
{% endtest %}
