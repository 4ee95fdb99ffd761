-- Queries that must be accepted, and mean the same when they are written again. Separated by empty lines.

select mac_address, count(*) as n from user_ap_trajectory where mac_address in (:index_values) group by mac_address

SELECT MAC_ADDRESS, Count(DISTINCT Space_Id) AS Spaces FROM USER_AP_TRAJECTORY WHERE mac_address = ANY(:index_values) GROUP BY 1 HAVING count(*) > 1;

select mac_address from user_location_trajectory where mac_address not in (:index_values)

select mac_address from user_ap_trajectory where mac_address in :index_values

select t.mac_address, avg(extract(epoch from (t.end_time - t.start_time)) / 3600) as hours from user_ap_trajectory t group by t.mac_address

select device.devices.mac_address from device.devices

select distinct on (mac_address) mac_address, start_time::date as d from user_ap_trajectory order by mac_address, start_time desc nulls last

select mac_address, count(*) filter (where extract(hour from start_time) >= 22 or end_time::time <= '05:00') * 1.0 / count(*) as share from user_ap_trajectory group by mac_address

select mac_address, percentile_cont(0.5) within group (order by end_time - start_time) as middle, mode() within group (order by space_id) as usual from user_ap_trajectory group by mac_address

select mac_address, date_trunc('day', start_time) as d, date_part('hour', start_time) h, extract(isodow from start_time) as w from user_ap_trajectory

select mac_address, start_time at time zone 'America/Los_Angeles' at time zone 'UTC' as t from user_ap_trajectory

select start_time + interval '1 day 2 hours' as a, start_time - interval '90' minute as b, interval '1' hour * 3 as c, '2 days'::interval as d, make_interval(hours => 2) as e from user_ap_trajectory

select start_time::date + 1 as a, start_time::date - date '2025-01-01' as b, timestamp '2025-01-01 10:00' as c, time '10:30' as d, '2025-01-01'::timestamp with time zone as e from user_ap_trajectory

select s.space_id, z.n from space s cross join lateral (select count(*) as n from user_ap_trajectory u where u.space_id = s.space_id) z

select s.space_id, g.n, g.ord from space s, lateral unnest(array[1, 2, 3]) with ordinality as g(n, ord)

select s.space_id, g from space s, generate_series(1, 3) g

select d::date as d from generate_series('2025-01-01'::timestamp, '2025-01-05', interval '1 day') as x(d)

select * from (values (1, 'a'), (2, 'b')) as v(n, name) where v.n in (1, 2, 3)

select space_id, array_agg(mac_address order by mac_address) as a, string_agg(distinct mac_address, ', ' order by mac_address) as b from user_ap_trajectory group by space_id

select (array[1, 2, 3])[2] as a, (array[1, 2, 3])[1:2] as b, array_length(array[[1, 2], [3, 4]], 1) as c, 3 = any(array[1, 3]) as d, 3 > all(array[1, 2]) as e, array[1] || array[2] as f, array[1, 2] @> array[1] as g, array[1] && array[2] as h, array[1] <@ array[1, 2] as i

select ('{"a":{"b":1}}'::jsonb -> 'a' ->> 'b')::int as a, '{"a.b":1}'::jsonb -> 'a.b' as b, '[1,2]'::jsonb -> 1 as c, '{"a":[5]}'::jsonb #>> '{a,0}' as d, '{"a":1}'::jsonb ? 'a' as e, '{"a":1}'::jsonb ?| array['b'] as f, '{"a":1}'::jsonb @> '{"a":1}'::jsonb as g, '{"x''y":1}'::jsonb -> 'x''y' as h, '[1,2]'::json ->> -1 as i, '{"$.a":2}'::jsonb -> '$.a' as j

select e.key, e.value from jsonb_each_text('{"a":1,"b":2}'::jsonb) as e(key, value)

select mac_address, row_number() over (partition by space_id order by start_time, mac_address) as n, lag(start_time, 1) over w as p, sum(1) over (order by start_time range between interval '1 hour' preceding and current row) as s, first_value(space_id) over (w rows between unbounded preceding and unbounded following) as f from user_ap_trajectory window w as (partition by mac_address order by start_time, space_id)

select case when count(*) > 2 then 'many' when count(*) = 2 then 'two' else 'few' end as c, case space_id when 'r1' then 1 else 0 end as d from user_ap_trajectory group by space_id

select coalesce(null, 1) as a, nullif(1, 1) as b, greatest(1, 2) as c, least(1, 2) as d, 7 / 2 as e, 7 % 3 as f, 7.0 / 2 as g, -7 / 2 as h, power(2, 3) as i, 10 - 2 - 3 as j, 10 - (2 - 3) as k, 2 * (3 + 4) as l, - (-1) as m, - -1 as n, 1e3 as o, .5 as p, round(2.567, 2) as q, log(100) as r, ln(2.0) as s, mod(7, 3) as t, 7 / 2.0 * 3 as u, trunc(2.7) as v, ceil(1.2) as w, sqrt(4) as x, sign(-2) as y

select 'a' || 'b' || null as a, concat('a', null, 'b') as b, concat_ws('-', 'a', null, 'b') as c, upper('a') as d, substring('abcdef' from 2 for 3) as e, substring('abcdef', 2) as f, substr('abcdef', 2, 2) as g, left('abc', 1) as h, right('abc', 1) as i, position('b' in 'abc') as j, strpos('abc', 'c') as k, trim(both 'x' from 'xax') as l, trim('  a ') as m, trim(leading from '  a ') as n, replace('aba', 'a', 'c') as o, length('abc') as p, char_length('äb') as q, split_part('a-b', '-', 2) as r, lpad('1', 3, '0') as s, overlay('abcd' placing 'xx' from 2 for 2) as t, reverse('ab') as u, ltrim('xxa', 'x') as v, btrim('xax', 'x') as w, initcap('hello world') as x, translate('abc', 'ab', 'xy') as y, substring('abc123' from '[0-9]+') as z

select 'abc' ~ '^a.c$' as a, 'abc' ~* 'A' as b, 'abc' !~ 'x' as c, 'abc' !~* 'B' as d, 'abc' like 'a%' as e, 'abc' not like 'b%' as f, 'ABC' ilike 'a_c' as g, 'a%c' like 'a#%c' escape '#' as h, 'abc' similar to '(a|b)%' as i, 'abc' not similar to 'x%' as j, regexp_replace('abc', '(b)', '[\1]', 'g') as k, (regexp_match('ab12', '\d+'))[1] as l, 'a\b' as m, 'a' || chr(10) as n

select ('abc' !~ 'b') is null as a, 'abc' !~ 'b' is null as b, 'abc' not like 'b' is not null as c, null is null as d, 1 is not null as e, (1 is null) = (2 is not null) as f, 1 is not distinct from null as g, null is distinct from 1 as h, true is not false as i, (1 > 2) is unknown as j, not true or true as k, not (true or true) as l, 1 = 1 is true as m

select 2 between 1 and 3 as a, 2 not between symmetric 3 and 1 as b, 1 not in (2, 3) as c, (1, 2) = (1, 2) as d, row(1, 2) < row(1, 3) as e, (1, 2) in ((1, 2), (3, 4)) as f, 1 in (select 1) as g, exists (select 1 where false) as h, not exists (select 1) as i, 1 < any (select 2) as j, array(select 1 union all select 2 order by 1) as k, 2 <> all(array[3, 4]) as l, 1 != 2 as m

select (timestamp '2025-01-01', timestamp '2025-01-03') overlaps (timestamp '2025-01-02', timestamp '2025-01-04') as a, age(timestamp '2025-01-03', timestamp '2025-01-01') as b, to_char(timestamp '2025-03-04 05:06', 'YYYY-MM-DD HH24:MI Dy') as c, date_bin('15 minutes', timestamp '2025-01-01 10:07', timestamp '2025-01-01') as d, extract(epoch from interval '2 hours') as e, to_timestamp(0) as f, make_date(2025, 1, 2) as g, justify_hours(interval '30 hours') as h, to_date('2025-02-03', 'YYYY-MM-DD') as i, extract('dow' from date '2025-01-01') as j

select cast('1' as integer) as a, '1.5'::numeric(10, 2) as b, 1::float as c, 1::real as d, 1::double precision as e, 'abc'::varchar(2) as f, 'abc'::char(5) as g, '{1,2}'::int[] as h, 'true'::boolean as i, 1::text::int as j, 1::bigint as k, 1::smallint as l, '{a,b}'::text[] as m, 1.5::decimal as n, '00000000-0000-0000-0000-000000000001'::uuid as o, 5::int8 as p, 1.5::float8 as q, 1.5::float4 as r, 'a'::character varying as s, '10:00'::time as t, '2025-01-01'::date as u, 7::float / 2 as v

with a as (select mac_address, count(*) as n from user_ap_trajectory group by mac_address), b(mac_address, m) as (select mac_address, max(n) over () from a) select a.mac_address, a.n, b.m from a join b using (mac_address)

with space as (select space_id from space where parent_space_id is not null) select space_id from space

with recursive up(space_id, root) as (select space_id, space_id from space where parent_space_id is null union select s.space_id, up.root from space s join up on s.parent_space_id = up.space_id) select * from up

with a as materialized (select 1 as x), b as not materialized (select 2 as x) select x from a union all select x from b order by x

(select mac_address from user_ap_trajectory where space_id = 'r1') intersect (select mac_address from user_ap_trajectory where space_id = 'r2')

select mac_address from device.devices except select mac_address from user_ap_trajectory where space_id = 'r1' union select 'x' order by 1 limit 3 offset 1

select space_id, parent_space_id, count(*) as n, grouping(space_id) as g from space group by rollup (space_id, parent_space_id)

select space_id, parent_space_id, count(*) as n from space group by grouping sets ((space_id), (parent_space_id), ())

select space_id, count(*) from space group by cube (space_id) having count(*) >= 1

select u.mac_address, s.space_name, m.type from user_ap_trajectory u left join space s on s.space_id = u.space_id left outer join space_metadata m on m.building_room = s.building_room and m.type <> 'kitchen' full join faculty_data f on f.office = s.building_room

select a.space_id from space a natural join space_metadata b

select mac_address as "Who", "mac_address" as "select", 'it''s' as "left" from user_ap_trajectory as "order"

select mac_address -- of the device; not the person
  , /* the number of */ count(*) as n from user_ap_trajectory group by 1

select $$it's$$ as a, $x$plain$x$ as b, 'ü€' as c, '{"a": {}}' as d, '50% { % }' as e, '--' as f, '/* */' as g, ';' as h, 'zqaqz' as i, '"' as j, '$$' as k, ':index_values' as l, '%(x)s' as m, 'zn0nz' as n

select mac_address, bool_or(space_id = 'r1') as a, bool_and(space_id = 'r1') as b, stddev_samp(extract(epoch from end_time - start_time)) as c, corr(1.0, 2.0) as d, jsonb_object_agg(space_id, sensor_id) as e, count(distinct (space_id, sensor_id)) as f, array_to_string(array_agg(distinct space_id), ',') as g from user_ap_trajectory group by mac_address

select mac_address collate "C" as m from user_ap_trajectory order by mac_address collate "C" desc fetch first 2 rows only

select current_date = now()::date as a, current_timestamp = now() as b, localtimestamp is not null as c

select count(*) as n, max(x.n) as most from (select space_id, count(*) as n from user_ap_trajectory group by space_id) as x where x.n > (select avg(1) from space)

select (select count(*) from space) as n, u.* from user_ap_trajectory u

select t.mac_address from user_ap_trajectory t where (t.mac_address, t.space_id) in (select mac_address, space_id from user_ap_trajectory) and exists (select from space)

select day, count(*) as n from (select date(start_time) as day from user_ap_trajectory) q group by day

select public.space.space_id from public.space

select name, office from faculty_data, region_to_coverage

select regexp_split_to_table('a,b', ',') as part, string_to_array('a,b', ',') as list, md5('a') as h, to_number('12', '99') as n
