-- One pass over the sessions of a space in the order of their start finds for nearly every
-- session whether another device overlaps it: the next to start, or the last to end of those
-- before, whose device's number is part of what is compared. Only where both are the device's
-- own, the sessions themselves are looked up.
with numbered as (
    select
        mac_address,
        space_id,
        started_at,
        ended_at,
        dense_rank() over (order by mac_address) as device
    from int_sessions
),

neighbours as (
    select
        *,
        lead(started_at) over in_space < ended_at as next_overlaps,
        lead(device) over in_space <> device as next_is_another,
        max(floor(extract(epoch from ended_at))::bigint * 1073741824 + device) over (
            in_space rows between unbounded preceding and 1 preceding
        ) as last_end_and_device
    from numbered
    window in_space as (partition by space_id order by started_at, device, ended_at)
),

own as (
    select
        mac_address,
        space_id,
        started_at,
        ended_at,
        coalesce(next_overlaps, false) as next_overlaps,
        coalesce(next_overlaps and next_is_another, false) as next_accompanies,
        coalesce(
            last_end_and_device / 1073741824 > extract(epoch from started_at), false
        ) as last_overlaps,
        last_end_and_device % 1073741824 <> device as last_is_another
    from neighbours
    where mac_address in (select distinct mac_address from int_sessions)
),

longest as (
    select max(ended_at - started_at) as length from int_sessions
),

judged as (
    select
        mac_address,
        case
            when next_accompanies or (last_overlaps and last_is_another) then true
            when not next_overlaps and not last_overlaps then false
            else exists (
                select 1
                from int_sessions as other
                where other.space_id = own.space_id
                    and other.started_at < own.ended_at
                    and other.started_at > own.started_at - (select length from longest)
                    and other.ended_at > own.started_at
                    and other.mac_address <> own.mac_address
            )
        end as accompanied
    from own
)

select
    mac_address,
    count(*) as sessions,
    count(*) filter (where accompanied) as accompanied_sessions,
    (count(*) filter (where accompanied))::double precision / nullif(count(*), 0) as accompanied_share
from judged
group by mac_address
