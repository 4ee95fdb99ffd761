{#- Finds rows without a key, which belong to no entity. -#}
{% test key_present(model, column_name) %}
select *
from {{ model }}
where {{ column_name }} is null
{% endtest %}
