with sessions as materialized (
    select
        row_number() over () as id,
        mac_address,
        -- Numbers are compared faster than addresses.
        dense_rank() over (order by mac_address)::integer as device,
        count(*) over (partition by mac_address) as device_sessions,
        space_id,
        started_at,
        ended_at,
        date_trunc('hour', started_at) as first_hour,
        date_trunc('hour', ended_at - interval '1 second') as last_hour
    from int_sessions
    where mac_address in (select distinct mac_address from int_sessions)
),

crowds as (
    select space_id, first_hour, count(*) as crowd
    from sessions
    group by space_id, first_hour
),

ranked as (
    select
        sessions.*,
        row_number() over (partition by device order by crowd, id) as rank
    from sessions
    inner join crowds using (space_id, first_hour)
),

looked_at as (
    select ranked.*, hour
    from ranked, generate_series(first_hour, last_hour, interval '1 hour') as hour
    where rank <= floor(device_sessions * 0.2) + greatest(3, ceil(device_sessions * 0.1))
),

present as (
    select sessions.*, hour
    from sessions, generate_series(first_hour, last_hour, interval '1 hour') as hour
),

met as (
    select
        own.device,
        other.device as partner,
        max(own.device_sessions) as device_sessions,
        count(distinct own.id) as meetings
    from looked_at as own
    inner join present as other
        on other.space_id = own.space_id
        and other.hour = own.hour
        and other.device <> own.device
        and other.started_at < own.ended_at
        and other.ended_at > own.started_at
    group by own.device, other.device
),

devices as materialized (
    select
        device,
        mac_address,
        count(*) as device_sessions,
        avg(extract(epoch from ended_at - started_at))::double precision / 3600 as mean_hours,
        max(ended_at - started_at) as longest
    from sessions
    group by device, mac_address
),

partners as (
    select device as partner, mac_address, longest from devices
),

candidates as materialized (
    select
        met.device,
        met.partner,
        partners.mac_address as partner_address,
        partners.longest as partner_longest
    from met
    inner join partners on partners.partner = met.partner
    where met.meetings >= least(greatest(3, ceil(device_sessions * 0.1)), device_sessions - floor(device_sessions * 0.2))
),

shared as (
    select
        own.device,
        candidates.partner,
        count(*) as shared_sessions,
        count(distinct own.space_id) as shared_spaces
    from candidates
    inner join sessions as own on own.device = candidates.device
    where exists (
        select 1
        from int_sessions as other
        where other.mac_address = candidates.partner_address
            and other.started_at < own.ended_at
            and other.started_at > own.started_at - candidates.partner_longest
            and other.ended_at > own.started_at
            and other.space_id = own.space_id
    )
    group by own.device, candidates.partner
),

best as (
    select distinct on (shared.device) shared.*
    from shared
    inner join devices using (device)
    where shared_sessions >= 0.8 * device_sessions
    order by shared.device, shared_sessions desc, shared.partner
)

select
    own.mac_address,
    own.device_sessions as sessions,
    best.shared_sessions,
    (best.shared_sessions)::double precision / nullif(own.device_sessions, 0) as shared_share,
    best.shared_spaces,
    own.mean_hours,
    partners.mean_hours as partner_mean_hours
from devices as own
left join best using (device)
left join devices as partners on partners.device = best.partner
