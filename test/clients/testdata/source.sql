-- What the clients read: on PostgreSQL as it is here, and through Pintail from its copy. There are no foreign keys, defaults, comments
-- and indexes but those of keys, because a copy has none.
CREATE SCHEMA shop;

CREATE TABLE public.everything (
	id integer PRIMARY KEY, flag boolean, small smallint, whole integer, big bigint, single real, double_ double precision,
	amount numeric(12,3), word text, day date, clock time, clock_tz timetz, moment timestamp, moment_tz timestamptz, span interval,
	uid uuid, raw bytea, doc json, ints integer[], words text[], amounts numeric(10,2)[], moments timestamptz[]);
INSERT INTO public.everything VALUES
	(1, true, 7, 42, 4200000000, 1.5, 0.1, 1234.500, 'plain', '2024-02-29', '12:34:56', '12:34:56+02', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.789+00', '1 year 2 mons 3 days 04:05:06.7',
	 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\x00ff10', '{"a": [1, 2, {"b": null}]}', '{1,2,3}', '{a,b}', '{1.50,-2.25}', '{2024-01-01 00:00:00+00}'),
	(2, false, -32768, -2147483648, -9223372036854775808, 'NaN', '-Infinity', -999999999.999, E'quotes '' " and \\ and\nlines\tand | pipes', '0001-01-01', '00:00:00', '00:00:00-12', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999+00', '-3 days -00:00:00.000001',
	 '00000000-0000-0000-0000-000000000000', '', '[]', '{}', '{}', '{}', '{}'),
	(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	(4, true, 32767, 2147483647, 9223372036854775807, 3.4028235e38, 1.7976931348623157e308, 999999999.999, '', '9999-12-31', '23:59:59.999999', '23:59:59.999999+12', '9999-12-31 23:59:59.999999', '9999-12-31 23:59:59.999999+00', '00:00:00',
	 'ffffffff-ffff-ffff-ffff-ffffffffffff', '\x5c27220a', '"text"', '{NULL,-1,2147483647}', '{NULL,"NULL","","a,b","c\"d","e\\f","{g}"," h "}', '{NULL,0.00}', '{NULL,1969-12-31 23:59:59.999999+00}'),
	(5, false, 0, 0, 0, 1e-30, 1e-300, 0.001, 'héllo 漢字 🙂', '2000-01-01', '00:00:00.000001', '01:02:03+05:30', '2000-01-01 00:00:00', '2000-01-01 00:00:00+00', '10 years -11 mons 30 days',
	 '123e4567-e89b-12d3-a456-426614174000', '\xdeadbeef', 'null', '{0}', '{"über"}', '{99999999.99}', '{2000-01-01 00:00:00.5+00}');

-- Types that the copy keeps under another one.
CREATE TYPE public.mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE public.varied (id bigint PRIMARY KEY, code varchar(20), doc jsonb, feeling public.mood, address inet, price money);
INSERT INTO public.varied VALUES (1, 'A-1', '{"k": "v", "n": [1, 2]}', 'happy', '10.0.0.0/8', '12.34'), (2, NULL, NULL, NULL, NULL, NULL), (3, 'ü', 'true', 'sad', '::1/64', '-0.01');

CREATE TABLE public.customers (id integer PRIMARY KEY, name text, city text, created timestamptz, active boolean);
INSERT INTO public.customers SELECT i, 'customer ' || i, (ARRAY['Berlin', 'Lyon', 'Osaka', NULL])[1 + i % 4], '2024-01-01 00:00:00+00'::timestamptz + i * interval '1 day', i % 3 > 0 FROM generate_series(1, 100) i;

CREATE TABLE public.orders (id bigint PRIMARY KEY, customer_id integer, amount numeric(10,2), placed date, status text, note text);
INSERT INTO public.orders SELECT i, 1 + i % 100, (i * 37 % 10000) / 100.0, date '2024-01-01' + i % 366, (ARRAY['new', 'paid', 'sent'])[1 + i % 3], CASE WHEN i % 5 > 0 THEN 'note ' || i END FROM generate_series(1, 5000) i;

CREATE TABLE public.totals_lines (order_id bigint, line smallint, pieces integer, PRIMARY KEY (order_id, line));
INSERT INTO public.totals_lines SELECT i, l, i * l FROM generate_series(1, 50) i, generate_series(1, 3) l;
CREATE VIEW public.totals AS SELECT order_id, count(*) AS lines FROM totals_lines GROUP BY order_id;

CREATE TABLE shop.items (order_id bigint, line smallint, product text, quantity integer, price numeric(8,2), PRIMARY KEY (order_id, line));
INSERT INTO shop.items SELECT i, l, 'product ' || i % 7, l, i * l / 10.0 FROM generate_series(1, 200) i, generate_series(1, 3) l;
CREATE TABLE shop."Mixed Case" ("Id" integer PRIMARY KEY, "Some Name" text, "select" integer);
INSERT INTO shop."Mixed Case" VALUES (1, 'one', 10), (2, 'two', 20);
CREATE TABLE shop.nothing (id integer PRIMARY KEY, word text);
