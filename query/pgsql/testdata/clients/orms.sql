-- [statement] the database that is connected
SELECT current_database = current_catalog AS same FROM current_database();

-- [statement] the schema that is connected
SELECT * FROM current_schema();

-- [statement] words that are quoted
select string_agg(word, ',') from pg_catalog.pg_get_keywords() where word <> ALL ('{a,abs,absolute,action,ada,add,admin,after,all}'::text[]);

-- [statement] types of columns by their name
SELECT column_name, ('"' || "udt_schema" || '"."' || "udt_name" || '"')::"regtype" AS "regtype" FROM "information_schema"."columns" WHERE table_name = 'orders' ORDER BY ordinal_position;

-- [statement] types that parsers are made for
WITH ranges AS (SELECT pg_range.rngtypid, pg_type.typname AS rngtypname, pg_type.typarray AS rngtyparray, pg_range.rngsubtype FROM pg_range LEFT OUTER JOIN pg_type ON pg_type.oid = pg_range.rngtypid) SELECT pg_type.typname, pg_type.typtype, pg_type.oid, pg_type.typarray, ranges.rngtypname, ranges.rngtyparray FROM pg_type LEFT OUTER JOIN ranges ON pg_type.oid = ranges.rngsubtype WHERE (pg_type.typtype IN('b', 'e')) AND pg_type.typname IN ('int4', 'date', 'text', 'numeric', 'timestamptz');

-- [statement] columns without an order, which are in that of the table
SELECT column_name, data_type, is_nullable FROM "information_schema"."columns" WHERE "table_schema" = 'public' AND "table_name" = 'customers';

-- [statement] the median
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY amount) AS median, percentile_cont(0.25) WITHIN GROUP (ORDER BY id) AS quarter, percentile_disc(0.5) WITHIN GROUP (ORDER BY amount) AS middle FROM orders;

-- [statement] keys in the order of an index
SELECT i.relname AS name, ix.indisprimary AS primary, ix.indkey AS indkey, array_agg(a.attnum ORDER BY a.attnum) AS column_indexes, pg_get_indexdef(ix.indexrelid) AS definition FROM pg_class t, pg_class i, pg_index ix, pg_attribute a, pg_namespace s WHERE t.oid = ix.indrelid AND i.oid = ix.indexrelid AND a.attrelid = t.oid AND a.attnum > 0 AND t.relkind = 'r' AND t.relname = 'orders' AND s.oid = t.relnamespace AND s.nspname = 'public' GROUP BY i.relname, ix.indexrelid, ix.indisprimary, ix.indisunique, ix.indkey ORDER BY i.relname;
