-- Each line is asked of PostgreSQL and of Pintail; names, types and rows must be the same. What stands behind "--" at a line's end says what
-- may differ: "type" the column's type, "differs" the rows too, with the reason.

-- Names of columns
SELECT 1
SELECT 1, 'a', NULL, true
SELECT count(*), count(id), sum(id), min(name), max(name) FROM emp
SELECT id + 1, id * 2, -id, NOT active, id = 1 FROM emp ORDER BY id
SELECT upper(name), lower(name), length(name) FROM emp ORDER BY id
SELECT id::text, name::varchar(2), '5'::int, 5::text FROM emp ORDER BY id
SELECT CASE WHEN id > 2 THEN 'big' ELSE 'small' END, CASE id WHEN 1 THEN name END FROM emp ORDER BY id
SELECT coalesce(name, 'x'), nullif(id, 1), greatest(id, 2), least(id, 2) FROM emp ORDER BY id
SELECT (SELECT max(id) FROM emp), EXISTS (SELECT 1), ARRAY(SELECT 1), ARRAY[1, 2]
SELECT id AS Total, name AS "Total" FROM emp ORDER BY id LIMIT 1
SELECT count FROM (SELECT count(*) FROM emp) x
SELECT * FROM (SELECT upper(name), id FROM emp) x ORDER BY id LIMIT 2
SELECT e.* FROM emp e ORDER BY 1 LIMIT 1
SELECT current_date = current_date, now() = now()
WITH x AS (SELECT count(*) FROM emp) SELECT * FROM x
SELECT ID, NAME FROM EMP WHERE ID = 1
SELECT sum(id) AS s, sum(id) + 1 FROM emp

-- Whole numbers
SELECT 7 / 2, -7 / 2, 7 % 3, -7 % 3, 7 / -2
SELECT 2 + 3 * 4 - 1, (2 + 3) * 4
SELECT 5 / 2 * 2.0, 5 / 2.0 * 2 -- type: divisions of numerics are in double precision -- differs: numerics show more digits
SELECT id / 2, id % 2 FROM emp ORDER BY id
SELECT 1::smallint + 1::smallint, 1::smallint + 1, 1 + 1::bigint
SELECT sum(small), sum(id), sum(big), sum(price) FROM emp
SELECT sum(id) FILTER (WHERE active), count(*) FILTER (WHERE NOT active) FROM emp
SELECT 10 / 4, 10 / 4.0 > 2.4, 10 % 4
SELECT mod(10, 3), abs(-5), sign(-2.0), power(2, 10), sqrt(16)  -- type: sign and power
SELECT 17 & 5, 17 | 5, 17 # 5, ~5, 1 << 4, 256 >> 2
SELECT @ -5, |/ 25.0, ||/ 27.0
SELECT 2 ^ 3, 2.0 ^ 3 -- type: powers are in double precision -- differs: numerics show more digits
SELECT gcd(12, 18), lcm(4, 6)  -- type: wider words
SELECT 1 WHERE 5 BETWEEN 3 AND 7
SELECT 5 BETWEEN SYMMETRIC 7 AND 3, 5 NOT BETWEEN SYMMETRIC 7 AND 3
SELECT div(7, 2), div(-7, 2) -- type: a wider numeric
SELECT factorial(5) -- type: a word
SELECT 2147483647 + 1::bigint, 9223372036854775807
SELECT 0x1F -- differs: PostgreSQL 15 takes this for a 0 called x1F

-- Numerics and doubles
SELECT 1.5, 1.50, 0.1 + 0.2, 1.5 * 2, 1.25 - 0.25
SELECT price, price * 2, price + 1, -price FROM emp ORDER BY id
SELECT round(2.5), round(3.5), round(-2.5), round(2.345, 2), round(2.5::float8), round(3.5::float8), round(-0.5::float8)
SELECT trunc(2.7), trunc(-2.7), trunc(2.789, 2), ceil(2.1), ceil(-2.1), floor(2.9), floor(-2.1)
SELECT 2.5::int, 3.5::int, -2.5::int, 2.5::float8::int, 3.5::float8::int
SELECT 1::numeric, 5::numeric + 0.5, '12.50'::numeric, '1'::numeric
SELECT round(10::numeric / 3, 2), round(1 / 3.0, 4), round(avg(id), 2), round(avg(price), 2) FROM emp
SELECT avg(id) > 2, avg(price) > 1 FROM emp
SELECT avg(score), min(score), max(score), sum(score) FROM emp
SELECT 1e10::float8, 1.5::float8, 'NaN'::float8, 'Infinity'::float8, '-Infinity'::float8
SELECT 'NaN'::float8 = 'NaN'::float8, 'NaN'::float8 > 1
SELECT 1.0::float8::text, 1e15::float8::text, 1e20::float8::text, 1.5::float8::text, 0.1::float8::text, 123456789.0::float8::text, 1e-7::float8::text, 'NaN'::float8::text
SELECT 3.14::numeric(10, 1), 2.25::numeric(3, 1), 1234.5678::numeric(12, 2)
SELECT price::int, price::float8, price::text FROM emp ORDER BY id
SELECT exp(0::float8), ln(1::float8), log(100::float8), pi(), degrees(pi()), sin(0)
SELECT width_bucket(5, 0, 10, 5), width_bucket(5.35, 0.024, 10.06, 5), width_bucket(-1, 0, 10, 5), width_bucket(10, 10, 0, 4)
SELECT random() < 1
SELECT 1 = 1.0, 1.0 = 1.00, 1 < 1.5
SELECT id::numeric / 2 > 1 FROM emp ORDER BY id
SELECT stddev(id) > 1, variance(id) > 1, var_pop(id) > 1 FROM emp
SELECT corr(id, small), covar_pop(id, small) FROM emp
SELECT regr_slope(id, small) FROM emp
SELECT to_hex(255), to_hex(16)

-- Strings
SELECT 'a' || 'b', 'a' || 1, 1 || 'a', 'x' || true, 'x' || 1.5, 'a' || NULL -- type: a text that is always NULL
SELECT length('hällo'), char_length('hällo'), octet_length('hällo'), bit_length('abc')
SELECT upper('hallo'), lower('HALLO'), initcap('hello wORLD foo-bar')
SELECT substring('hello' FROM 2), substring('hello' FROM 2 FOR 3), substring('hello', 2, 3), substr('hello', 2), substr('hello', -1, 4), substr('hello', 0, 3)
SELECT left('hello', 2), left('hello', -2), right('hello', 2), right('hello', -2), left('abc', 10)
SELECT position('l' IN 'hello'), strpos('hello', 'l'), position('z' IN 'hello')
SELECT trim('  x  '), trim(BOTH 'x' FROM 'xxaxx'), ltrim('  x'), rtrim('x  '), btrim('xyaxy', 'xy'), trim(LEADING 'x' FROM 'xa'), trim(TRAILING FROM 'a  ')
SELECT trim(E'\tx\t') = E'\tx\t'
SELECT overlay('Txxxxas' PLACING 'hom' FROM 2 FOR 4), overlay('abc' PLACING 'x' FROM 2)
SELECT replace('hello', 'l', 'L'), translate('hello', 'el', 'ip'), reverse('abc'), repeat('ab', 3)
SELECT lpad('5', 3, '0'), rpad('5', 3, '*'), lpad('hello', 2), lpad('x', 3), rpad('x', 3)
SELECT split_part('a,b,c', ',', 2), split_part('a,b,c', ',', 5), split_part('a,b,c', ',', -1)
SELECT concat('a', NULL, 1, true), concat_ws(',', 'a', NULL, 'b')
SELECT chr(65), ascii('A'), md5('a')
SELECT starts_with('hello', 'he'), 'hello' ^@ 'he'
SELECT 'abc' LIKE 'a%', 'abc' LIKE '_b_', 'abc' NOT LIKE 'x%', 'ABC' ILIKE 'a%', 'a_c' LIKE 'a\_c', 'abc' LIKE 'a\_c', 'a%c' LIKE 'a#%c' ESCAPE '#'
SELECT name FROM emp WHERE name LIKE '%' || 'n' || '%' ORDER BY 1
SELECT 'abc' SIMILAR TO '(a|b)%', 'abc' SIMILAR TO 'a', 'abc' NOT SIMILAR TO 'x%', 'a.c' SIMILAR TO 'a.c', 'abc' SIMILAR TO 'a.c', 'aab' SIMILAR TO 'a{2}b'
SELECT 'abc' ~ 'b', 'abc' ~ '^b', 'ABC' ~* 'b', 'abc' !~ 'z', 'ABC' !~* 'B', 'abc' ~ 'B'
SELECT 'abc' OPERATOR(pg_catalog.~) '^(abc)$' COLLATE pg_catalog.default
SELECT E'a\nb' ~ 'a.b', 'foo bar' ~ '\mbar\M', 'foobar' ~ '\ybar'
SELECT regexp_replace('foobarbaz', 'b..', 'X'), regexp_replace('foobarbaz', 'b..', 'X', 'g'), regexp_replace('foobar', '(o)(b)', '\2\1'), regexp_replace('ABC', 'b', 'x', 'i')
SELECT substring('foobar' FROM 'o.b'), substring('foobar' FROM 'o(.)b'), substring('foobar' FROM 'z')
SELECT regexp_match('foobar', 'o.b'), regexp_match('foobar', 'z')
SELECT regexp_split_to_array('a1b2c', '[0-9]'), string_to_array('a,b,c', ','), string_to_array('', ','), string_to_array('a,,c', ',', '')
SELECT regexp_matches('foobar', 'o', 'g')
SELECT regexp_split_to_table('a,b', ',') ORDER BY 1
SELECT quote_ident('a b'), quote_ident('ab'), quote_ident('select'), quote_literal('a''b'), quote_nullable(NULL)
SELECT format('%s is %s', name, id), format('%I', 'a b'), format('%L', 'it''s'), format('100%%') FROM emp ORDER BY id LIMIT 1
SELECT encode('abc'::bytea, 'hex'), encode('abc'::bytea, 'base64'), decode('616263', 'hex'), decode('YWJj', 'base64')
SELECT 'abc'::varchar(2), 'abc'::char(2), 'abcdef'::varchar, cast('abc' AS varchar(1))
SELECT 'a' < 'b', 'a' < 'B', 'Z' < 'a', 'abc' > 'abd'
SELECT name FROM emp ORDER BY name COLLATE "C"
SELECT string_agg(name, ',' ORDER BY name), string_agg(DISTINCT name, '-' ORDER BY name DESC) FROM emp
SELECT 'it''s', E'tab\there', $$dollar$$, U&'\0041'
SELECT '\x4142'::bytea, 'ab'::bytea, '\x4142'::bytea::text
SELECT length('\x4142'::bytea), md5('\x4142'::bytea)
SELECT normalize('a') -- differs: unknown function
SELECT to_char(1234.5, '9999.99'), to_char(1234.5, 'FM9999.00'), to_char(1234567.891, 'FM9,999,999.00'), to_char(5, '000'), to_char(-5, 'FM999'), to_char(0.5, 'FM0.00'), to_char(12345, '999')
SELECT concat(1.0::float8, 2.5), 1.0::float8 || 'x', true::text, false::text

-- Dates and times
SELECT DATE '2024-02-29', TIMESTAMP '2024-02-29 12:34:56.789', TIMESTAMPTZ '2024-02-29 12:34:56+02', TIME '12:34:56'
SELECT DATE '2024-03-01' - DATE '2024-02-01', DATE '2024-02-28' + 2, DATE '2024-03-01' - 1, 1 + DATE '2024-01-01'
SELECT DATE '2024-01-31' + INTERVAL '1 month', TIMESTAMP '2024-01-31' + INTERVAL '1 month 2 days', DATE '2024-01-01' - INTERVAL '1 day'
SELECT TIMESTAMP '2024-03-01' - TIMESTAMP '2024-02-01 12:00:00', TIMESTAMP '2024-03-01 10:00' - TIMESTAMP '2024-03-01 08:30'
SELECT extract(year FROM DATE '2024-02-03'), extract(month FROM DATE '2024-02-03'), extract(day FROM DATE '2024-02-03'), extract(dow FROM DATE '2024-02-04'), extract(doy FROM DATE '2024-02-03')
SELECT extract(hour FROM TIMESTAMP '2024-01-01 13:45:10.5'), extract(second FROM TIMESTAMP '2024-01-01 13:45:10.5'), extract(milliseconds FROM TIMESTAMP '2024-01-01 13:45:10.5'), extract(epoch FROM TIMESTAMP '2024-01-01 00:00:00')
SELECT extract(week FROM DATE '2024-01-07'), extract(quarter FROM DATE '2024-05-01'), extract(isodow FROM DATE '2024-01-07'), extract(isoyear FROM DATE '2024-12-30'), extract(century FROM DATE '2024-01-01'), extract(decade FROM DATE '2024-01-01')
SELECT date_part('year', DATE '2024-02-03'), date_part('second', TIMESTAMP '2024-01-01 00:00:01.25'), date_part('epoch', INTERVAL '1 day')
SELECT date_trunc('month', TIMESTAMP '2024-02-15 10:00'), date_trunc('day', TIMESTAMPTZ '2024-02-15 10:00+00'), date_trunc('year', DATE '2024-02-15'), date_trunc('hour', TIMESTAMP '2024-02-15 10:45'), date_trunc('week', DATE '2024-02-15'), date_trunc('quarter', DATE '2024-02-15')
SELECT date_trunc('day', TIMESTAMPTZ '2024-02-15 03:00+00', 'America/New_York')
SELECT TIMESTAMP '2024-01-01 12:00' AT TIME ZONE 'America/New_York', TIMESTAMPTZ '2024-01-01 12:00+00' AT TIME ZONE 'Asia/Tokyo'
SELECT to_char(TIMESTAMP '2024-02-03 14:05:06.789', 'YYYY-MM-DD HH24:MI:SS'), to_char(TIMESTAMP '2024-02-03 14:05:06.789', 'DD Mon YYYY'), to_char(TIMESTAMP '2024-02-03 14:05:06.789', 'HH12:MI:SS AM'), to_char(DATE '2024-02-03', 'YYYYMMDD'), to_char(TIMESTAMP '2024-02-03 14:05:06.789', 'MS US')
SELECT to_char(DATE '2024-02-03', 'Month') || '|', to_char(DATE '2024-02-03', 'FMMonth'), to_char(DATE '2024-02-03', 'Day') || '|', to_char(DATE '2024-02-03', 'FMDay, DD'), to_char(DATE '2024-02-03', 'MON DY D Q'), to_char(DATE '2024-02-03', 'FMDD/FMMM/YY'), to_char(DATE '2024-02-03', 'IYYY-IW')
SELECT to_char(DATE '2024-02-03', '"Year" YYYY'), to_char(created, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') FROM emp ORDER BY id
SELECT to_date('2024-02-03', 'YYYY-MM-DD'), to_date('03/02/2024', 'DD/MM/YYYY'), to_timestamp('2024-02-03 04:05:06', 'YYYY-MM-DD HH24:MI:SS'), to_timestamp(0), to_timestamp(1700000000.5)
SELECT age(TIMESTAMP '2024-03-01', TIMESTAMP '2024-01-15'), age(DATE '2024-03-01', DATE '2020-01-15')
SELECT make_date(2024, 2, 3), make_timestamp(2024, 2, 3, 4, 5, 6.5), make_time(1, 2, 3.5), make_interval(days => 10, hours => 2)
SELECT INTERVAL '1 day' * 2, INTERVAL '1 day' + INTERVAL '2 hours', -INTERVAL '1 day', INTERVAL '1 year 2 months', INTERVAL '90 minutes', INTERVAL '1' DAY, INTERVAL '2' HOUR
SELECT '1 year 2 months 3 days 04:05:06'::interval::text, '1 month'::interval::text, '-1 day'::interval::text
SELECT DATE '2024-01-01' < DATE '2024-01-02', DATE '2024-01-01' = TIMESTAMP '2024-01-01 00:00', DATE '2024-01-01' BETWEEN '2023-12-31' AND '2024-01-02'
SELECT generate_series(DATE '2024-01-01', DATE '2024-01-03', INTERVAL '1 day')
SELECT d::date FROM generate_series('2024-01-01'::date, '2024-01-03'::date, '1 day'::interval) d
SELECT d FROM generate_series(TIMESTAMP '2024-01-01', TIMESTAMP '2024-01-01 02:00', INTERVAL '1 hour') AS d
SELECT 'infinity'::timestamp, '-infinity'::date, 'epoch'::timestamp
SELECT created::date, created::time, created::text FROM emp ORDER BY id
SELECT date_trunc('month', created), count(*) FROM emp GROUP BY 1 ORDER BY 1
SELECT date_trunc('month', created) AS m, sum(price) FROM emp GROUP BY m ORDER BY m NULLS FIRST
SELECT DATE '0044-03-15 BC' -- differs: before Christ is (BC) here
SELECT isfinite(DATE '2024-01-01'), justify_days(INTERVAL '35 days'), justify_hours(INTERVAL '27 hours')
SELECT (DATE '2024-02-01', DATE '2024-02-10') OVERLAPS (DATE '2024-02-05', DATE '2024-02-15')
SELECT current_date - 1 < current_date, now() > TIMESTAMPTZ '2020-01-01', localtimestamp > TIMESTAMP '2020-01-01', current_timestamp::date = current_date
SELECT 'today'::date = current_date, 'now'::timestamptz <= now(), 'tomorrow'::date - 'yesterday'::date

-- Aggregates and grouping
SELECT dept, count(*) FROM emp GROUP BY dept ORDER BY dept
SELECT dept, count(*) FROM emp GROUP BY 1 HAVING count(*) > 1 ORDER BY 2 DESC, 1
SELECT dept, active, count(*) FROM emp GROUP BY ROLLUP (dept, active) ORDER BY 1, 2, 3
SELECT dept, count(*), grouping(dept) FROM emp GROUP BY CUBE (dept) ORDER BY 1, 3 -- type: grouping
SELECT dept, sum(id) FROM emp GROUP BY GROUPING SETS ((dept), ()) ORDER BY 1, 2
SELECT array_agg(id ORDER BY id DESC), array_agg(DISTINCT dept ORDER BY dept) FROM emp
SELECT bool_and(active), bool_or(active), every(id > 0) FROM emp
SELECT count(DISTINCT dept), count(dept), count(*) FROM emp
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY id), percentile_disc(0.5) WITHIN GROUP (ORDER BY id), mode() WITHIN GROUP (ORDER BY dept) FROM emp
SELECT max(created) - min(created) FROM emp
SELECT sum(id), avg(score) FROM emp WHERE false
SELECT count(*) FROM emp WHERE dept IS NULL
SELECT dept, string_agg(name, ', ' ORDER BY id) FROM emp GROUP BY dept ORDER BY dept
SELECT json_agg(id ORDER BY id) FROM emp -- differs: blanks within JSON
SELECT bit_and(id), bit_or(id) FROM emp
SELECT sum(small * 2), sum(id + big), sum(CASE WHEN active THEN 1 ELSE 0 END) FROM emp
SELECT DISTINCT dept FROM emp ORDER BY dept
SELECT DISTINCT ON (dept) dept, name FROM emp ORDER BY dept, id
SELECT DISTINCT ON (dept) dept, name FROM emp ORDER BY dept DESC, id DESC

-- NULLs and order
SELECT id FROM emp ORDER BY dept, id
SELECT id, dept FROM emp ORDER BY dept DESC, id
SELECT id, dept FROM emp ORDER BY dept NULLS FIRST, id
SELECT id, dept FROM emp ORDER BY dept DESC NULLS LAST, id
SELECT NULL = NULL, NULL IS NULL, 1 IS DISTINCT FROM NULL, NULL IS NOT DISTINCT FROM NULL, NULL AND false, NULL OR true
SELECT id FROM emp WHERE dept <> 'ops' ORDER BY id
SELECT id FROM emp WHERE NOT (dept = 'ops') ORDER BY id
SELECT id FROM emp WHERE dept IN ('ops', NULL) ORDER BY id
SELECT id FROM emp WHERE dept NOT IN ('ops') ORDER BY id
SELECT active IS TRUE, active IS NOT TRUE, active IS UNKNOWN, (dept = 'ops') IS UNKNOWN, (dept = 'ops') IS NOT UNKNOWN FROM emp ORDER BY id
SELECT name ISNULL, name NOTNULL FROM emp ORDER BY id
SELECT id FROM emp ORDER BY active, id DESC LIMIT 2 OFFSET 1
SELECT id FROM emp ORDER BY id LIMIT ALL
SELECT id FROM emp ORDER BY id FETCH FIRST 2 ROWS ONLY
SELECT id FROM emp ORDER BY id OFFSET 2 ROWS FETCH NEXT 1 ROW ONLY
SELECT id FROM emp WHERE id = 1 FOR UPDATE
SELECT id FROM emp e WHERE id = 1 FOR SHARE OF e NOWAIT
SELECT array_agg(dept ORDER BY dept DESC), array_agg(dept ORDER BY dept) FROM emp
SELECT row_number() OVER (ORDER BY dept DESC, id), id FROM emp ORDER BY 2

-- Joins and subqueries
SELECT e.name, d.title FROM emp e JOIN dept d ON d.code = e.dept ORDER BY e.id
SELECT e.name, d.title FROM emp e LEFT JOIN dept d ON d.code = e.dept ORDER BY e.id
SELECT d.code, count(e.id) FROM dept d LEFT JOIN emp e ON e.dept = d.code GROUP BY d.code ORDER BY d.code
SELECT count(*) FROM emp CROSS JOIN dept
SELECT count(*) FROM emp, dept WHERE emp.dept = dept.code
SELECT name FROM emp NATURAL JOIN (SELECT 1 AS id) x
SELECT id FROM emp JOIN (VALUES (1, 'a'), (2, 'b')) v(id, x) USING (id) ORDER BY id
SELECT e.name, l.m FROM emp e, LATERAL (SELECT max(x.id) AS m FROM emp x WHERE x.dept = e.dept) l ORDER BY e.id
SELECT name FROM emp WHERE id = ANY (ARRAY[1, 3]) ORDER BY id
SELECT name FROM emp WHERE id = ANY ('{1,3}') ORDER BY id
SELECT name FROM emp WHERE id = ANY ('{1,3}'::int[]) ORDER BY id
SELECT name FROM emp WHERE dept = ANY ('{ops,dev}'::text[]) ORDER BY id
SELECT name FROM emp WHERE id <> ALL (ARRAY[1, 3]) ORDER BY id
SELECT name FROM emp WHERE id <> ALL ('{1,3}') ORDER BY id
SELECT name FROM emp WHERE id IN (SELECT id FROM emp WHERE active) ORDER BY id
SELECT name FROM emp e WHERE EXISTS (SELECT 1 FROM dept d WHERE d.code = e.dept) ORDER BY id
SELECT name FROM emp WHERE (id, dept) IN ((1, 'dev'), (2, 'x')) ORDER BY id
SELECT name FROM emp WHERE id > ALL (SELECT id FROM emp WHERE id < 3) ORDER BY id
SELECT id FROM emp UNION SELECT 1 ORDER BY 1
SELECT id FROM emp INTERSECT SELECT 2
SELECT id FROM emp EXCEPT SELECT 2 ORDER BY 1
SELECT 1 AS a UNION ALL SELECT 2 ORDER BY a DESC
VALUES (1, 'a'), (2, 'b')
TABLE dept ORDER BY 1
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n) FROM t
WITH a AS (SELECT 1 AS x), b AS (SELECT x + 1 AS y FROM a) SELECT x, y FROM a, b
WITH t AS MATERIALIZED (SELECT 1 AS x) SELECT * FROM t
SELECT * FROM public.emp WHERE id = 1
SELECT public.emp.name FROM public.emp WHERE emp.id = 1
SELECT * FROM ONLY emp WHERE id = 1
SELECT (SELECT name FROM emp WHERE id = 1) || '!'
SELECT e1.id FROM emp e1 WHERE e1.id = (SELECT max(e2.id) FROM emp e2 WHERE e2.dept = e1.dept) ORDER BY 1

-- Windows
SELECT id, row_number() OVER (PARTITION BY dept ORDER BY id), rank() OVER (ORDER BY dept), dense_rank() OVER (ORDER BY dept) FROM emp ORDER BY id
SELECT id, sum(id) OVER (ORDER BY id), sum(id) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM emp ORDER BY id
SELECT id, lag(id) OVER w, lead(id, 2, 0) OVER w, first_value(name) OVER w, last_value(name) OVER w, nth_value(name, 2) OVER w FROM emp WINDOW w AS (ORDER BY id) ORDER BY id
SELECT id, ntile(2) OVER (ORDER BY id), percent_rank() OVER (ORDER BY id), cume_dist() OVER (ORDER BY id) FROM emp ORDER BY id
SELECT id, count(*) OVER (), max(id) OVER (PARTITION BY dept) FROM emp ORDER BY id
SELECT id, sum(id) FILTER (WHERE active) OVER (ORDER BY id) FROM emp ORDER BY id
SELECT dept, sum(count(*)) OVER (ORDER BY dept) FROM emp GROUP BY dept ORDER BY dept
SELECT id, avg(score) OVER (ORDER BY id RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM emp ORDER BY id
SELECT id, array_agg(id) OVER (ORDER BY id) FROM emp ORDER BY id

-- Arrays
SELECT ARRAY[1, 2, 3], ARRAY['a', NULL], '{1,2}'::int[], '{a,"b c",NULL}'::text[], ARRAY[]::int[], '{}'::text[]
SELECT (ARRAY[1, 2, 3])[2], (ARRAY[1, 2, 3])[2:3], (ARRAY['a', 'b'])[5], tags[1], tags[1:1] FROM emp ORDER BY id
SELECT array_length(ARRAY[1, 2], 1), array_length(ARRAY[]::int[], 1), cardinality(ARRAY[1, 2]), array_upper(ARRAY[1, 2], 1), array_lower(ARRAY[1, 2], 1), array_ndims(ARRAY[1])
SELECT ARRAY[1, 2] || 3, 0 || ARRAY[1, 2], ARRAY[1] || ARRAY[2, 3], ARRAY[1] || '{2,3}', tags || 'z'::text FROM emp ORDER BY id
SELECT array_append(ARRAY[1], 2), array_prepend(0, ARRAY[1]), array_cat(ARRAY[1], ARRAY[2]), array_remove(ARRAY[1, 2, 1], 1), array_replace(ARRAY[1, 2], 1, 9), array_position(ARRAY['a', 'b'], 'b')
SELECT array_to_string(ARRAY['a', NULL, 'b'], ','), array_to_string(ARRAY['a', NULL, 'b'], ',', '*'), array_to_string(ARRAY[1, 2], '-'), array_to_string(ARRAY[]::text[], ',')
SELECT ARRAY[1, 2] @> ARRAY[1], ARRAY[1] <@ ARRAY[1, 2], ARRAY[1, 2] && ARRAY[2, 3], ARRAY[1, 2] = ARRAY[1, 2], ARRAY[1, 2] < ARRAY[1, 3], tags @> '{x}' FROM emp ORDER BY id
SELECT unnest(ARRAY[1, 2]), unnest(ARRAY['a', 'b', 'c'])
SELECT * FROM unnest(ARRAY[1, 2]) x
SELECT x, x + 1 FROM unnest(ARRAY[1, 2]) AS x ORDER BY x
SELECT * FROM unnest(ARRAY['a', 'b']) WITH ORDINALITY AS t(v, n)
SELECT id, t FROM emp, unnest(tags) t ORDER BY id, t
SELECT id, t.v FROM emp, unnest(tags) WITH ORDINALITY AS t(v, n) WHERE n = 1 ORDER BY id
SELECT generate_series(1, 3), generate_series(1, 2)
SELECT g, g * 2 FROM generate_series(1, 3) g
SELECT g.g FROM generate_series(2, 6, 2) AS g(g)
SELECT * FROM generate_series(1, 2) WITH ORDINALITY -- type: a bigint
SELECT generate_subscripts(ARRAY['a', 'b'], 1)
SELECT '{1,2}'::int[]::text, ARRAY['a b', 'c']::text, tags::text FROM emp ORDER BY id
SELECT 1 = ANY (ARRAY[1, 2]), 3 = ANY (ARRAY[1, 2]), 1 = ANY (tags::text[] IS NULL)::int FROM emp LIMIT 0 -- differs: nonsense on both sides
SELECT 'x' = ANY (tags), 'q' <> ALL (tags) FROM emp ORDER BY id
SELECT ARRAY[[1, 2], [3, 4]], '{{1,2},{3,4}}'::int[] -- type: lists of lists are JSON -- differs: lists of lists are JSON

-- JSON
SELECT '{"a": {"b": [1, 2]}}'::json -> 'a', '{"a": 1}'::json ->> 'a', '[1, 2]'::json -> 1, '[1, 2]'::json ->> 0, '{"a": 1}'::json -> 'z' -- differs: blanks within JSON
SELECT '{"a": {"b": [1, 2]}}'::jsonb #>> '{a,b,1}', '{"a": {"b": "x"}}'::jsonb #>> '{a,b}', '{"a": null}'::jsonb ->> 'a'
SELECT doc ->> 'k', (doc ->> 'n')::int + 1, doc ->> 'k' = 'v' FROM emp ORDER BY id
SELECT id FROM emp WHERE doc ->> 'k' = 'v' ORDER BY id
SELECT '{"a": 1, "b": 2}'::jsonb @> '{"a": 1}'::jsonb, '{"a": 1}'::jsonb ? 'a', '{"a": 1}'::jsonb ? 'z'
SELECT json_array_length('[1, 2, 3]'::json), json_typeof('{"a": 1}'::json), json_typeof('[]'::json), json_typeof('1.5'::json), json_typeof('"x"'::json), jsonb_typeof('true'::jsonb), json_typeof('null'::json)
SELECT json_array_elements_text('["a", "b"]'::json)
SELECT value FROM json_array_elements_text('["a", "b"]'::json)
SELECT v FROM jsonb_array_elements_text('["a", "b"]'::jsonb) v
SELECT json_object_keys('{"a": 1, "b": 2}'::json)
SELECT json_extract_path_text('{"a": {"b": "x"}}'::json, 'a', 'b')
SELECT json_build_object('a', 1, 'b', 'x') ->> 'b', json_build_array(1, 'a') ->> 1
SELECT row_to_json(x) ->> 'b' FROM (SELECT 1 AS a, 'y' AS b) x

-- Casts and types
SELECT '5'::int + 1, 5::text || 'x', '1.5'::float8 * 2, 't'::bool, 'yes'::boolean, 'off'::bool, 1::bool, true::int
SELECT cast('2024-01-01' AS date), cast(5 AS bigint), cast('1' AS smallint), '12:00'::time, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid
SELECT int '5', text 'x', date '2024-01-01', float8 '1.5', bool 'true', numeric '1.25'
SELECT 5::pg_catalog.int4, 'x'::pg_catalog.text, pg_catalog.upper('a'), pg_catalog.count(*) FROM emp
SELECT pg_typeof(1), pg_typeof('x'::text), pg_typeof(1.5), pg_typeof(now()), pg_typeof(id), pg_typeof(tags) FROM emp LIMIT 1 -- type: regtype is shown as text
SELECT 'x'::name, 'x'::"char", 5::oid
SELECT current_database() = current_catalog, current_schema(), current_schema, current_schemas(false)
SELECT 'emp'::regclass, 'public.emp'::regclass::text, 'int4'::regtype, 'integer'::regtype::text, 23::regtype, 'public'::regnamespace, 'pg_class'::regclass::oid -- type: names of objects are shown as text
SELECT to_regclass('emp'), to_regclass('nosuch'), to_regtype('text') -- type: names of objects are shown as text
SELECT format_type(23, -1), format_type(1043, 14), format_type(1700, 655366), format_type(1184, -1), format_type(1009, -1), format_type(0, NULL), format_type(NULL, 1), format_type(1042, NULL), format_type(1114, 3)
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'dept'::regclass AND attnum > 0 ORDER BY attnum
SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1
SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid = 'emp'::regclass
SELECT pg_class.relname FROM pg_class WHERE pg_class.relname = 'emp'
SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1
SELECT tables.table_name FROM information_schema.tables WHERE tables.table_schema = 'public' ORDER BY 1
SELECT column_name, data_type, is_nullable, ordinal_position, udt_name, numeric_precision, numeric_scale, datetime_precision, character_maximum_length FROM information_schema.columns WHERE table_name = 'emp' AND column_name <> 'doc' ORDER BY ordinal_position
SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT LIKE 'pg\_toast' ORDER BY 1
SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1
SELECT has_table_privilege('emp', 'SELECT'), has_schema_privilege('public', 'USAGE'), has_any_column_privilege('emp', 'SELECT')
SELECT pg_table_is_visible('emp'::regclass), obj_description('emp'::regclass, 'pg_class'), col_description('emp'::regclass, 1)
SELECT array_upper(string_to_array(current_setting('search_path'), ','), 1), current_setting('server_version_num'), current_setting('nosuch.setting', true)
SELECT typname, typlen, typtype, typcategory FROM pg_type WHERE typname IN ('int4', 'text', '_text', 'numeric', 'timestamptz') ORDER BY 1
SELECT a.attname, a.attnum FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) WHERE i.indrelid = 'emp'::regclass AND i.indisprimary
SELECT (information_schema._pg_expandarray(i.indkey)).n, i.indkey[0] FROM pg_index i WHERE i.indrelid = 'emp'::regclass
SELECT conname, contype, pg_get_constraintdef(oid), conkey FROM pg_constraint WHERE conrelid = 'emp'::regclass ORDER BY 1
SELECT kcu.column_name, tc.constraint_type FROM information_schema.table_constraints tc JOIN information_schema.key_column_usage kcu USING (constraint_name, table_name) WHERE tc.table_name = 'emp' AND tc.constraint_type = 'PRIMARY KEY'
SELECT quote_ident(table_schema) FROM information_schema.tables WHERE table_name = 'emp' AND table_schema IN (SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1), array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i, string_to_array(current_setting('search_path'), ',') s)
SELECT oid, typname FROM pg_type WHERE oid IN (16, 20, 23, 25) ORDER BY oid
SELECT 1 AS at_, 2 AS "at", 3 AS "describe", 4 AS show
SELECT x.show FROM (SELECT 1 AS show, 2 AS pivot) x
SELECT row(1, 2) = row(1, 2), (1, 2) < (1, 3), (1, 'a') = (1, 'b')
SELECT COUNT(*) FROM Emp WHERE Name ILIKE 'A%'

-- Quotients and means: PostgreSQL's digits, however large or small they are
SELECT 10 / 4.0, 1 / 3.0, 2.0 / 3, 1.0 / 1.0, 100000 / 7.0, 0.0001 / 3
SELECT avg(id), avg(small), avg(big), avg(price), avg(score) FROM emp
SELECT dept, avg(id), avg(price) FROM emp GROUP BY dept ORDER BY avg(id) DESC, dept
SELECT dept, avg(price) AS mean FROM emp GROUP BY dept ORDER BY mean NULLS FIRST, dept
SELECT dept, avg(id) FROM emp GROUP BY 1 ORDER BY 2 DESC, 1
SELECT id, avg(id) OVER (ORDER BY id), avg(price) OVER (PARTITION BY dept ORDER BY id) FROM emp ORDER BY id
SELECT avg(id) FILTER (WHERE active), avg(DISTINCT small) FROM emp
SELECT sum(price) / count(*), sum(id) / count(*), sum(big) / 3, price / 3 FROM emp GROUP BY price ORDER BY price
SELECT price / id, id / price, price / 7.000 FROM emp WHERE id < 4 ORDER BY id
SELECT round(avg(price), 2), round(avg(id), 1), round(sum(price) / count(*), 3), round(price / 7, 4), round(avg(price)) FROM emp GROUP BY price ORDER BY price
SELECT round(2.345, 2), round(-2.345, 2), round(1.005, 2), round(7 / 8.0, 2), round(0.5 / 1, 0)
SELECT avg(price) FROM emp WHERE false
SELECT sum(big), sum(big * 2), sum(price * 2), sum(small::bigint) FROM emp
SELECT count(*) * 1.0 / 3, 100.0 * count(*) / 7 FROM emp
SELECT DISTINCT price / 3 FROM emp ORDER BY 1 -- differs: where rows are told apart by a quotient, it is in double precision
SELECT stddev(id)::float8 > 1.29, variance(price) > 95 FROM emp
SELECT div(7.5, 2), mod(7.5, 2), 7.5 % 2, -7.5 % 2 -- type: a wider numeric
SELECT power(2::numeric, 3) = 8, sqrt(16.0) = 4, exp(0.0) = 1, ln(1.0) = 0

-- OIDs
SELECT oid, relname, relnamespace FROM pg_class WHERE relname IN ('pg_class', 'pg_type') ORDER BY oid
SELECT 5::oid, '23'::oid, 'int4'::regtype::oid
SELECT count(*) > 1 FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid < 100

-- Parameters' forms
SELECT id FROM emp WHERE id = ANY ('{1,2}'::int8[]) ORDER BY id
SELECT id FROM emp WHERE name = ANY (ARRAY['ann', 'bob']) ORDER BY id
SELECT id FROM emp WHERE id <> ALL ('{1,2}'::int[]) ORDER BY id
SELECT id FROM emp WHERE id > ANY (ARRAY[2, 3]) ORDER BY id
SELECT id FROM emp WHERE id >= ALL (ARRAY[1, 2]) ORDER BY id
SELECT id FROM emp WHERE name LIKE ANY (ARRAY['a%', 'b%']) ORDER BY id
SELECT id FROM emp WHERE NOT name LIKE ALL (ARRAY['%a%', '%n%']) ORDER BY id
SELECT 1 = ANY (NULL::int[]), 1 <> ALL ('{}'::int[]), 1 = ANY ('{}'::int[])

-- Names of expressions
SELECT id::bigint, (id + 1)::text, cast(name AS varchar(3)), -id, NOT active, id IS NULL FROM emp ORDER BY emp.id
SELECT (id), ((name)), upper(name)::text, (SELECT 1), (SELECT 1 AS one), ARRAY[1], ROW(1) IS NULL FROM emp ORDER BY emp.id LIMIT 1
SELECT CASE WHEN true THEN id END, CASE WHEN true THEN 1 ELSE id END, coalesce(id, 0), nullif(id, 0), greatest(id), least(id) FROM emp ORDER BY emp.id LIMIT 1
SELECT date '2024-01-01', interval '1 day', timestamp '2024-01-01', 'x'::text, 1::int::text
SELECT extract(year FROM created), date_part('year', created), created AT TIME ZONE 'UTC', created::date FROM emp ORDER BY id
SELECT trim(name), substring(name FROM 1 FOR 1), position('a' IN name), overlay(name PLACING 'x' FROM 1), char_length(name) FROM emp ORDER BY id
SELECT count(*) FILTER (WHERE active), sum(id) OVER (), exists(SELECT 1), tags[1], name || 'x', id = 1 AND true FROM emp GROUP BY emp.id, tags, name ORDER BY emp.id
SELECT now() IS NOT NULL, current_date IS NOT NULL, current_timestamp IS NOT NULL, current_user IS NOT NULL, localtime IS NOT NULL
SELECT true AND false, 1 + 1, 'a' LIKE 'a', 1 BETWEEN 0 AND 2, 1 IN (1, 2), 1 IS DISTINCT FROM 2, - 1

-- to_char
SELECT to_char(TIMESTAMP '2024-12-30 00:05:06', 'HH24:MI:SS HH:MI:SS am'), to_char(DATE '2024-12-30', 'YYYY-"W"IW'), to_char(DATE '2024-12-30', 'Dy DD Mon YY'), to_char(DATE '2024-12-30', 'DDD D Q')
SELECT to_char(TIMESTAMP '2024-02-03 14:05:06.789', 'YYYY-MM-DD"T"HH24:MI:SS.MS'), to_char(TIMESTAMPTZ '2024-02-03 14:05:06+00', 'YYYY-MM-DD HH24:MI:SS TZ')
SELECT to_char(created, 'YYYY-MM'), count(*) FROM emp GROUP BY 1 ORDER BY 1
SELECT to_char(0, '9'), to_char(0, '0'), to_char(-1.5, '9.9'), to_char(1234.567, '9,999.99'), to_char(0.1, '0.99'), to_char(1234567, '9G999G999'), to_char(12, '0000'), to_char(1.5, 'FM99.99')
SELECT to_char(12345.678, 'FM999999.00'), to_char(1, 'FM000'), to_char(123, '99')

-- Dates
SELECT date_trunc('day', TIMESTAMPTZ '2024-03-31 01:30:00+00', 'Europe/Berlin'), date_trunc('month', TIMESTAMPTZ '2024-03-31 23:30:00+00', 'Asia/Tokyo'), date_trunc('minute', TIMESTAMP '2024-01-01 10:11:12')
SELECT date_trunc('decade', TIMESTAMP '2024-03-31'), date_trunc('century', TIMESTAMP '2024-03-31'), date_trunc('millennium', TIMESTAMP '2024-03-31'), date_trunc('second', TIMESTAMP '2024-01-01 10:11:12.9'), date_trunc('milliseconds', TIMESTAMP '2024-01-01 10:11:12.98765')
SELECT date_trunc('hour', INTERVAL '3 days 02:47:33'), date_trunc('month', INTERVAL '1 year 2 months 3 days')
SELECT extract(epoch FROM INTERVAL '1 day 2 hours'), extract(day FROM INTERVAL '3 days 5 hours'), extract(hour FROM TIME '13:14:15'), extract(minute FROM INTERVAL '90 minutes'), extract(microseconds FROM TIME '00:00:01.5')
SELECT extract(millennium FROM DATE '2024-01-01'), extract(julian FROM DATE '2024-01-01'), extract(timezone FROM TIMESTAMPTZ '2024-01-01 00:00+00')  -- type: extract(julian)
SELECT generate_series(TIMESTAMP '2024-01-01', '2024-01-03', '1 day'), 1
SELECT g FROM generate_series(TIMESTAMPTZ '2024-01-01 00:00+00', '2024-01-01 03:00+00', INTERVAL '90 minutes') g
SELECT g::date FROM generate_series(DATE '2024-01-31', DATE '2024-04-30', '1 month') g
SELECT g FROM generate_series(5, 1, -2) g
SELECT g FROM generate_series(1::bigint, 3) g
SELECT g FROM generate_series(1.0, 2.0, 0.5) g -- differs: a series of numerics
SELECT TIMESTAMP '2024-03-01' - '2024-02-28', DATE '2024-03-01' - '2024-02-28', TIMESTAMPTZ '2024-03-01 00:00+00' - '2024-02-28 12:00+00', TIME '10:00' - TIME '08:30'
SELECT TIMESTAMP '2024-03-01' + '1 day', TIMESTAMPTZ '2024-03-01 00:00+00' + '2 hours'
SELECT DATE '2024-03-01' + TIME '10:30', TIME '10:30' + DATE '2024-03-01', TIME '10:00' + INTERVAL '90 minutes', TIME '23:00' + INTERVAL '2 hours'
SELECT make_date(2024, 2, 29), make_time(10, 20, 30.5), make_timestamp(2024, 1, 2, 3, 4, 5.5), make_interval(days => 3, hours => 2)
SELECT INTERVAL '1 day' * 2.5, INTERVAL '1 hour' / 2, 2 * INTERVAL '3 months', -INTERVAL '1 day', INTERVAL '1 day' = INTERVAL '24 hours'
SELECT INTERVAL '1 month' > INTERVAL '29 days', INTERVAL '1 year' + INTERVAL '1 month', INTERVAL '2 days' - INTERVAL '3 hours', INTERVAL '1 day' + TIME '01:00' = TIME '01:00'
SELECT '1 day ago'::interval, INTERVAL '1.5 days', INTERVAL '100 seconds', '2 weeks'::interval
SELECT 'P1Y2M3DT4H5M6S'::interval, '1-2'::interval -- differs: intervals are written with units
SELECT age(TIMESTAMP '2024-03-01', TIMESTAMP '2023-01-15'), age(DATE '2024-03-01', DATE '2024-02-28')
SELECT date_bin('15 minutes', TIMESTAMP '2024-01-01 10:47', TIMESTAMP '2024-01-01')
SELECT to_timestamp(1700000000), to_timestamp(1700000000.5), to_timestamp('2024-02-03 04:05', 'YYYY-MM-DD HH24:MI'), to_date('03/02/2024', 'DD/MM/YYYY')
SELECT TIMESTAMPTZ '2024-07-01 12:00+00' AT TIME ZONE 'Europe/Berlin', TIMESTAMP '2024-07-01 12:00' AT TIME ZONE 'Europe/Berlin', TIMESTAMPTZ '2024-07-01 12:00+00' AT TIME ZONE INTERVAL '2 hours' -- differs: a zone as an interval
SELECT created + INTERVAL '1 month', created - INTERVAL '1 day' FROM emp ORDER BY id
SELECT isfinite(DATE '2024-01-01'), isfinite(TIMESTAMP 'infinity')
SELECT justify_days(INTERVAL '35 days')
SELECT justify_hours(INTERVAL '27 hours')
SELECT justify_interval(INTERVAL '1 mon -1 hour') -- differs: unknown function
SELECT (DATE '2024-02-01', DATE '2024-02-10') OVERLAPS (DATE '2024-02-05', DATE '2024-02-15')
SELECT extract(day FROM created - TIMESTAMPTZ '2024-01-01 00:00+00') FROM emp ORDER BY id

-- Strings
SELECT split_part('a~b~c', '~', -1), split_part('a~b~c', '~', -3), split_part('a~b~c', '~', -4), split_part('abc', '', 1)
SELECT format('%s-%s', 1, 'x'), format('%2$s %1$s', 'a', 'b'), format('%10s|%-5s|', 'a', 'b'), format('%L', NULL), format('no')
SELECT regexp_replace('abcabc', '(b)(c)', '[\1\2]', 'g'), regexp_replace('Hello', 'L', 'x', 'gi'), regexp_replace('abc', 'z', 'x'), regexp_replace('a.b', '\.', '-')
SELECT regexp_matches('foo123bar456', '[0-9]+', 'g'), 1
SELECT regexp_matches('key=val', '(\w+)=(\w+)')
SELECT regexp_match('key=val', '(\w+)=(\w+)'), (regexp_match('key=val', '=(\w+)'))[1]
SELECT regexp_split_to_array('a, b,c', ',\s*'), string_to_array('a-b-c', '-'), array_to_string(ARRAY[1, NULL, 3], ',', 'x')
SELECT regexp_count('abcabc', 'b'), regexp_like('abc', 'B', 'i'), regexp_substr('abc123', '[0-9]+')
SELECT position('b' IN 'abc'), overlay('abcdef' PLACING '###' FROM 3), overlay('abcdef' PLACING '#' FROM 3 FOR 3), btrim('  x  '), btrim('xxabcxx', 'x'), translate('12345', '143', 'ax')
SELECT ltrim('zzzy', 'xyz'), rtrim('xxyx', 'xy'), lpad('hi', 5, 'xy'), rpad('hi', 5, 'xy'), lpad('hello', 3, 'x'), repeat('a', 0), reverse('')
SELECT left('hello', 0), right('hello', 0), substr('hello', 2, 0), substring('hello' FROM -1 FOR 3), substring('hello' FOR 2), substring('hello' FROM 10)
SELECT substring('Thomas' FROM '...$'), substring('foobar' SIMILAR '#"o_b#"%' ESCAPE '#'), substring('abc' FROM 2 FOR 1) -- differs: SIMILAR in substring
SELECT concat_ws('-', 1, NULL, 'x', true), concat(1, 2.5, NULL, DATE '2024-01-01'), 'a' || 1.50 || true
SELECT initcap('o''neil mc-donald'), length('日本'), octet_length('日本'), ascii('é'), chr(233)
SELECT 'abc' < 'abd', 'a' || NULL IS NULL, 'A' < 'a', '10' < '9', 'é' > 'z'
SELECT starts_with('abc', 'ab'), strpos('abc', 'c'), strpos('abc', ''), to_hex(255), md5('')
SELECT 'a%b' LIKE 'a\%b', 'a\b' LIKE 'a\\b', 'a_b' LIKE 'a!_b' ESCAPE '!', 'axb' LIKE 'a!_b' ESCAPE '!', 'abc' NOT ILIKE 'A_C', 'a' LIKE NULL IS NULL
SELECT 'abc' SIMILAR TO 'a_c', 'abc' SIMILAR TO '%(b|d)%', 'a' SIMILAR TO '[a-c]', 'xyz' SIMILAR TO 'x[^a]z', 'aaa' SIMILAR TO 'a+'
SELECT string_agg(name, '' ORDER BY id DESC), string_agg(name, ', ') FILTER (WHERE id < 2), string_agg(DISTINCT dept, ',' ORDER BY dept) FROM emp
SELECT encode('\xdeadbeef'::bytea, 'hex'), encode('a'::bytea, 'escape'), convert_from('\x616263'::bytea, 'UTF8'), convert_to('abc', 'UTF8'), sha256('abc')
SELECT quote_ident('Foo'), quote_literal(E'a\\b'), quote_nullable('x'), quote_literal(1)
SELECT unistr('\0041'), 'a' COLLATE "C" < 'b', casefold('A') -- differs: unknown functions

-- JSON
SELECT doc -> 'k', doc ->> 'n', doc #> '{k}', doc #>> '{n}' FROM emp ORDER BY id
SELECT '{"a":[1,{"b":2}]}'::jsonb #> '{a,1,b}', '{"a":[1,{"b":2}]}'::jsonb #>> '{a,1,b}', '[1,2,3]'::jsonb -> -1, '{"a":null}'::jsonb -> 'a', '{"a":null}'::jsonb ->> 'a'
SELECT '{"a":1,"b":2}'::jsonb @> '{"b":2}', '[1,2,3]'::jsonb @> '[3]', '{"a":1}'::jsonb <@ '{"a":1,"b":2}', '["a","b"]'::jsonb ? 'a', '{"a":1}'::jsonb ?| ARRAY['x','a'], '{"a":1}'::jsonb ?& ARRAY['x','a']
SELECT jsonb_array_length('[1,2]'), jsonb_typeof('[1]'), jsonb_typeof('null'), json_array_length('[]')
SELECT key, value FROM jsonb_each_text('{"a":1,"b":"x"}') ORDER BY key -- differs: unknown function
SELECT key FROM json_each('{"a":1,"b":2}') ORDER BY key
SELECT e ->> 'x' FROM jsonb_array_elements('[{"x":1},{"x":2}]'::jsonb) e ORDER BY 1
SELECT e.value ->> 'x', e.ordinality FROM jsonb_array_elements('[{"x":1},{"x":2}]'::jsonb) WITH ORDINALITY e ORDER BY 2
SELECT id, t.v FROM emp, LATERAL jsonb_array_elements_text('["a","b"]'::jsonb) t(v) WHERE id = 1 ORDER BY 2
SELECT (doc ->> 'n')::int, (doc ->> 'n')::numeric + 0.5 FROM emp WHERE doc ->> 'n' IS NOT NULL ORDER BY 1
SELECT count(*) FROM emp WHERE doc::jsonb ? 'k'
SELECT jsonb_object_keys('{"b":1,"a":2}') ORDER BY 1
SELECT to_json('x'::text)::text, json_build_object('a', 1, 'b', NULL) ->> 'a', jsonb_build_array(1, 'x', NULL) ->> 1
SELECT json_strip_nulls('{"a":1}'::json) ->> 'a', jsonb_extract_path('{"a":{"b":1}}', 'a', 'b'), jsonb_extract_path_text('{"a":{"b":1}}', 'a', 'b')
SELECT json_object_agg(name, id) ->> 'ann', jsonb_agg(id ORDER BY id) ->> 0 FROM emp
SELECT jsonb_pretty('{}'::jsonb), jsonb_set('{"a":1}'::jsonb, '{a}', '2'), '{"a":1}'::jsonb - 'a' -- differs: unknown functions
SELECT ('{"a":1}'::jsonb || '{"b":2}'::jsonb) ->> 'b'

-- Arrays
SELECT ARRAY[1,2] = '{1,2}', ARRAY[1,2] <> ARRAY[2,1], ARRAY[1,2] || ARRAY[]::int[], ARRAY['a'] || 'b'::text, cardinality('{a,b}'::text[]), array_length('{}'::int[], 1)
SELECT array_agg(id ORDER BY id) FILTER (WHERE id > 2), array_agg(name ORDER BY id DESC), (array_agg(id ORDER BY id))[1] FROM emp
SELECT (SELECT array_agg(x ORDER BY x DESC) FROM unnest(ARRAY[3, 1, 2]) x), ARRAY(SELECT id FROM emp ORDER BY id DESC), ARRAY(SELECT name FROM emp WHERE false)
SELECT array_position(ARRAY['a','b'], 'z'), array_remove(ARRAY['a','b'], 'a'), array_replace(ARRAY['a','b'], 'a', 'c'), array_fill(7, ARRAY[2])
SELECT '{1,2,3}'::int[] @> '{2}'::int[], tags && ARRAY['x'], 'x' = ANY (tags), array_dims(ARRAY[1,2]), trim_array(ARRAY[1,2,3], 1) FROM emp WHERE id = 1
SELECT u, o FROM unnest(ARRAY['x', 'y']) WITH ORDINALITY AS a(u, o) ORDER BY o DESC
SELECT a, b FROM unnest(ARRAY[1, 2], ARRAY['x', 'y']) AS t(a, b)
SELECT id FROM emp WHERE tags @> ARRAY['x'] OR tags IS NULL ORDER BY id
SELECT '{"a b",NULL,"NULL",""}'::text[], ARRAY[NULL]::int[], ARRAY[true, false], ARRAY[1.5, 2.5], ARRAY[DATE '2024-01-01']
SELECT (ARRAY[1,2,3,4])[2:], (ARRAY[1,2,3,4])[:2], (ARRAY[1,2,3])[0], (ARRAY[1,2,3])[-1]

-- LATERAL, sets of groups, windows
SELECT e.id, x.n FROM emp e CROSS JOIN LATERAL (SELECT e.id * 2 AS n) x ORDER BY 1
SELECT d.code, t.name FROM dept d LEFT JOIN LATERAL (SELECT name FROM emp e WHERE e.dept = d.code ORDER BY id LIMIT 1) t ON true ORDER BY 1
SELECT e.id, g FROM emp e, LATERAL generate_series(1, e.id) g WHERE e.id < 3 ORDER BY 1, 2
SELECT dept, active, count(*), sum(id) FROM emp GROUP BY GROUPING SETS ((dept, active), (dept), ()) ORDER BY 1, 2, 3, 4
SELECT dept, active, grouping(dept, active) FROM emp GROUP BY CUBE (dept, active) ORDER BY 3, 1, 2 -- type: grouping
SELECT dept, count(*) FILTER (WHERE active) AS a, count(*) FILTER (WHERE active IS NOT TRUE) FROM emp GROUP BY dept ORDER BY dept NULLS FIRST
SELECT percentile_cont(ARRAY[0.25, 0.5]) WITHIN GROUP (ORDER BY id), percentile_disc(0.5) WITHIN GROUP (ORDER BY name DESC) FROM emp
SELECT rank(2) WITHIN GROUP (ORDER BY id), dense_rank(2) WITHIN GROUP (ORDER BY id DESC), percent_rank(3) WITHIN GROUP (ORDER BY id), cume_dist(3) WITHIN GROUP (ORDER BY id) FROM emp
SELECT id, sum(id) OVER w, avg(score) OVER w, count(*) OVER w FROM emp WINDOW w AS (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING) ORDER BY id
SELECT id, sum(id) OVER (ORDER BY id RANGE BETWEEN 1 PRECEDING AND CURRENT ROW), sum(id) OVER (ORDER BY id GROUPS BETWEEN CURRENT ROW AND 1 FOLLOWING) FROM emp ORDER BY id
SELECT id, sum(id) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW), first_value(id) OVER (ORDER BY id DESC) FROM emp ORDER BY id
SELECT id, rank() OVER (PARTITION BY active ORDER BY dept NULLS FIRST), lag(name, 1, 'none') OVER (ORDER BY id) FROM emp ORDER BY id
SELECT DISTINCT ON (active) active, id FROM emp ORDER BY active, id DESC
SELECT id, price FROM emp ORDER BY price FETCH FIRST 1 ROWS WITH TIES -- differs: it is not there
SELECT dept FROM emp ORDER BY dept FETCH FIRST 1 ROW WITH TIES -- differs: it is not there
SELECT (id, name) = (1, 'ann'), (id, name) < (2, 'a'), (id, small) IS DISTINCT FROM (1, 1), (id, name) IN ((1, 'ann')) FROM emp ORDER BY id
SELECT id FROM emp WHERE (id, dept) >= (2, 'a') ORDER BY id
SELECT id FROM emp WHERE dept IS NOT DISTINCT FROM NULL
SELECT ROW(1, 'a b', NULL), (1, 2), ROW(id, name) FROM emp ORDER BY id
SELECT * FROM (VALUES (1, 'one'), (2, 'two')) AS t(n, word) WHERE n > 1
SELECT column1 + 1, column2 FROM (VALUES (1, 'a'), (2, NULL)) v ORDER BY 1
VALUES (1, NULL), (NULL, 'x')
WITH RECURSIVE up(id, path) AS (SELECT 1, '1' UNION ALL SELECT id + 1, path || '>' || (id + 1) FROM up WHERE id < 4) SELECT * FROM up ORDER BY id
WITH RECURSIVE f(a, b) AS (VALUES (0, 1) UNION ALL SELECT b, a + b FROM f WHERE b < 50) SELECT a FROM f
WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT n % 3 + 1 FROM t) SELECT n FROM t ORDER BY n
WITH x AS NOT MATERIALIZED (SELECT id FROM emp), y(k) AS (SELECT id FROM x WHERE id > 2) SELECT k FROM y ORDER BY k
(SELECT 1 AS a UNION SELECT 2) EXCEPT SELECT 1 ORDER BY a
SELECT id FROM emp UNION ALL (SELECT id FROM emp ORDER BY id LIMIT 1) ORDER BY 1
SELECT 1 AS x INTERSECT ALL SELECT 1 UNION SELECT 3 ORDER BY x
SELECT name, (SELECT count(*) FROM emp x WHERE x.dept = e.dept), CASE WHEN EXISTS (SELECT 1 FROM dept WHERE code = e.dept) THEN 'y' ELSE 'n' END FROM emp e ORDER BY id
SELECT * FROM emp e FULL JOIN dept d ON e.dept = d.code WHERE e.id IS NULL OR d.code IS NULL ORDER BY e.id, d.code
SELECT count(*) FROM emp TABLESAMPLE BERNOULLI (100)
SELECT count(*) > 0 FROM emp TABLESAMPLE SYSTEM (100) REPEATABLE (3)
SELECT (e.*)::text IS NOT NULL, (d.*)::text IS NULL FROM emp e LEFT JOIN dept d ON d.code = e.dept ORDER BY e.id
SELECT id FROM emp WHERE id IN (SELECT x FROM unnest(ARRAY[1, 2]) x) ORDER BY id
SELECT sum(x.n) FROM (SELECT count(*) AS n FROM emp GROUP BY dept) x
SELECT max(name) FILTER (WHERE dept = 'dev'), min(created)::date, bool_or(active) FROM emp
SELECT id, name FROM emp WHERE created >= '2024-01-15 10:00+00' AND created < '2024-02-01' ORDER BY id
SELECT id FROM emp WHERE created::date = '2024-01-15' OR created IS NULL ORDER BY id
SELECT coalesce(price, 0), greatest(price, 5) FROM emp ORDER BY id -- differs: numerics of one column have one scale
SELECT coalesce(price, 0.00), coalesce(name, 'none'), coalesce(NULL, 1), coalesce(score, 0) FROM emp ORDER BY id
SELECT nullif(name, 'ann'), greatest(1, NULL, 3), least('b', 'a') FROM emp ORDER BY id
SELECT num_nulls(1, NULL), num_nonnulls(1, NULL, 2)
SELECT 'b'::"char", 'abc'::char(5) || 'x', length('abc'::char(5))
SELECT 1::bit(3), B'101', '101'::varbit  -- differs: bit strings
SELECT current_setting('server_encoding'), current_setting('DateStyle'), current_setting('standard_conforming_strings'), current_setting('no.such', true)
