{#-
    The entities of a parent index to which a label model gave one of some labels.

    parent               model of the parent index
    label_model          table of the label model's answers, in the schema `labels`
    labels               the labels wanted; none: all that have a label
    minimum_confidence   least softmax probability of the label; none: the hard label decides
    include_unlabelled   whether those that have no label (nobody voted, or a tie) pass too

    With no labels, no confidence and nothing left out, everything passes.
-#}
{% macro derived_index(
    parent,
    label_model,
    labels=[],
    minimum_confidence=none,
    include_unlabelled=false,
    key='mac_address'
) -%}
    {%- set key = adapter.quote(key) -%}
    select parent.{{ key }}
    from {{ ref(parent) }} as parent
    left join {{ source('labels', label_model) }} as answer using ({{ key }})
    {%- if labels or minimum_confidence is not none %}
    where (
        answer.label is not null
        {%- if labels %}
        and answer.label in (
            {%- for label in labels %}{{ dbt.string_literal(label) }}{{ ', ' if not loop.last }}{% endfor -%}
        )
        {%- endif %}
        {%- if minimum_confidence is not none %}
        and answer.confidence >= {{ minimum_confidence }}
        {%- endif %}
    )
    {%- if include_unlabelled %}
    or answer.label is null
    {%- endif %}
    {%- endif %}
{%- endmacro %}
