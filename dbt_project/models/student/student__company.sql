-- One pass over the sessions of a space in the order of their start finds for nearly every
-- session whether another device overlaps it: the next to start, or the last to end of those
-- before. A part of a hash tells whose that one was; where it may be the device's own, the
-- sessions themselves are looked up.
with sessions as (
    select
        *,
        floor(extract(epoch from ended_at))::bigint * 1073741824
            + (hashtext(mac_address) & 1073741823) as end_and_owner
    from {{ ref('int_sessions') }}
),

neighbours as (
    select
        mac_address,
        space_id,
        started_at,
        ended_at,
        lead(started_at) over in_space < ended_at as next_overlaps,
        lead(mac_address) over in_space <> mac_address as next_is_another,
        max(end_and_owner) over (
            in_space rows between unbounded preceding and 1 preceding
        ) as last_end_and_owner
    from sessions
    window in_space as (partition by space_id order by started_at, mac_address, ended_at)
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
            (last_end_and_owner >> 30) > extract(epoch from started_at), false
        ) as last_overlaps,
        (last_end_and_owner & 1073741823) <> (hashtext(mac_address) & 1073741823)
            as last_is_another
    from neighbours
    where mac_address in {{ entities('student__students') }}
),

longest as (
    select max(ended_at - started_at) as length from {{ ref('int_sessions') }}
),

judged as (
    select
        mac_address,
        case
            when next_accompanies or (last_overlaps and last_is_another) then true
            when not next_overlaps and not last_overlaps then false
            else exists (
                select 1
                from {{ ref('int_sessions') }} as other
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
    {{ share('count(*) filter (where accompanied)', 'count(*)') }} as accompanied_share
from judged
group by mac_address
