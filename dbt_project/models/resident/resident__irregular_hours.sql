with days as (
    select
        mac_address,
        floor(extract(epoch from first_start - local_date) / 7200)::integer as first_bin,
        floor(extract(epoch from last_end - local_date) / 7200)::integer as last_bin
    from {{ ref('int_device_days') }}
    where mac_address in {{ entities('resident__residents') }}
),

pairs as (
    select mac_address, first_bin, last_bin, count(*) as days
    from days
    group by mac_address, first_bin, last_bin
)

select mac_address, sum(days)::bigint as days, count(*) as bin_pairs
from pairs
group by mac_address
