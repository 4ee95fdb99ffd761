{#- Features that every index has alike. Each is one row per entity of the index. -#}

{% macro session_statistics(index) -%}
with sessions as (
    select
        mac_address,
        count(*) as sessions,
        avg(seconds)::double precision as mean_session_seconds,
        percentile_cont(0.5) within group (order by seconds) as median_session_seconds,
        max(seconds) as longest_session_seconds,
        min(start_time) as first_time,
        max(end_time) as last_time
    from {{ ref('int_sessions') }}
    where mac_address in {{ entities(index) }}
    group by mac_address
),

places as (
    select
        mac_address,
        count(distinct local_date) as dates,
        (max(local_date) - min(local_date))::integer as span_days,
        count(distinct sensor_id) as access_points,
        count(distinct space_id) as spaces
    from {{ ref('int_place_days') }}
    where mac_address in {{ entities(index) }}
    group by mac_address
)

select
    mac_address,
    sessions.sessions,
    sessions.mean_session_seconds,
    sessions.median_session_seconds,
    sessions.longest_session_seconds,
    places.dates,
    {{ share('sessions.sessions', 'places.dates') }} as sessions_per_date,
    sessions.first_time,
    sessions.last_time,
    places.span_days,
    places.access_points,
    places.spaces
from sessions
inner join places using (mac_address)
{%- endmacro %}


{% macro daily_rhythm(index) -%}
with sessions as (
    select
        mac_address,
        avg((start_time::time < time '06:00')::integer)::double precision as night_share,
        avg((start_time::time >= time '06:00' and start_time::time < time '12:00')::integer)
            ::double precision as morning_share,
        avg((start_time::time >= time '12:00' and start_time::time < time '18:00')::integer)
            ::double precision as afternoon_share,
        avg((start_time::time >= time '18:00')::integer)::double precision as evening_share,
        avg((weekday >= 6)::integer)::double precision as weekend_share
    from {{ ref('int_sessions') }}
    where mac_address in {{ entities(index) }}
    group by mac_address
),

days as (
    select
        mac_address,
        date_part('epoch', first_start - local_date) / 3600 as first_hour,
        date_part('epoch', last_end - local_date) / 3600 as last_hour
    from {{ ref('int_device_days') }}
    where mac_address in {{ entities(index) }}
),

rhythm as (
    select
        mac_address,
        avg(first_hour) as mean_first_hour,
        stddev_pop(first_hour) as deviation_first_hour,
        avg(last_hour) as mean_last_hour,
        stddev_pop(last_hour) as deviation_last_hour
    from days
    group by mac_address
)

select *
from sessions
inner join rhythm using (mac_address)
{%- endmacro %}


{% macro room_profile(index) -%}
with spaces as (
    select
        mac_address,
        space_id,
        max(room_type) as room_type,
        bool_or(is_faculty_office) as is_faculty_office,
        sum(seconds)::double precision as seconds
    from {{ ref('int_place_days') }}
    where mac_address in {{ entities(index) }}
    group by mac_address, space_id
),

shares as (
    select *, seconds / sum(seconds) over (partition by mac_address) as share
    from spaces
)

select
    mac_address,
    coalesce(sum(share) filter (where room_type = 'office'), 0) as office_share,
    coalesce(sum(share) filter (where is_faculty_office), 0) as faculty_office_share,
    coalesce(sum(share) filter (where room_type in ('conference room', 'meeting room')), 0)
        as meeting_share,
    coalesce(sum(share) filter (where room_type = 'student lab'), 0) as lab_share,
    coalesce(sum(share) filter (where room_type = 'classroom'), 0) as classroom_share,
    coalesce(sum(share) filter (where room_type in ('elevator', 'rest room', 'kitchen')), 0)
        as common_share,
    coalesce(sum(share) filter (where room_type = 'library'), 0) as library_share,
    coalesce(sum(share) filter (where room_type is null or room_type not in (
        'office', 'conference room', 'meeting room', 'student lab', 'classroom', 'elevator',
        'rest room', 'kitchen', 'library'
    )), 0) as elsewhere_share,
    max(share) as main_space_share,
    -sum(share * ln(share)) / ln(2.0::double precision) as space_entropy
from shares
group by mac_address
{%- endmacro %}
