{#- Finds keys with several rows. -#}
{% test one_row_per_entity(model, column_name) %}
select {{ column_name }}, count(*) as rows
from {{ model }}
where {{ column_name }} is not null
group by {{ column_name }}
having count(*) > 1
{% endtest %}
