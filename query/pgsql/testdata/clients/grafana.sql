-- [statement] does the data source answer
SELECT 1;

-- [statement] version of the server, for the query builder
SELECT current_setting('server_version_num')::int/100 as version;

-- [statement] tables of the query builder
SELECT quote_ident(table_name) as "table" FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_cache', '_timescaledb_catalog', '_timescaledb_internal', '_timescaledb_config', 'timescaledb_information', 'timescaledb_experimental') AND table_type = 'BASE TABLE' AND quote_ident(table_schema) IN (SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END FROM generate_series(array_lower(string_to_array(current_setting('search_path'),','),1), array_upper(string_to_array(current_setting('search_path'),','),1)) as i, string_to_array(current_setting('search_path'),',') s) ORDER BY 1;

-- [statement] tables with their schemas
SELECT CASE WHEN quote_ident(table_schema) IN (SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END FROM generate_series(array_lower(string_to_array(current_setting('search_path'),','),1), array_upper(string_to_array(current_setting('search_path'),','),1)) as i, string_to_array(current_setting('search_path'),',') s) THEN quote_ident(table_name) ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS "table" FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog') ORDER BY CASE WHEN quote_ident(table_schema) = 'public' THEN 0 ELSE 1 END, 1;

-- [statement] columns of a table
SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns WHERE CASE WHEN array_length(parse_ident('customers'),1) = 2 THEN quote_ident(table_schema) = (parse_ident('customers'))[1] AND quote_ident(table_name) = (parse_ident('customers'))[2] ELSE quote_ident(table_name) = 'customers' AND quote_ident(table_schema) IN ('public') END;

-- [statement] time buckets, as $__timeGroupAlias and $__timeFilter are written out
SELECT floor(extract(epoch from created)/86400)*86400 AS "time", avg(f) AS "value" FROM customers WHERE created BETWEEN '2024-01-01T00:00:00Z' AND '2024-12-31T23:59:59Z' GROUP BY 1 ORDER BY 1;

-- [statement] a variable's values
SELECT DISTINCT name FROM customers WHERE name ~ '^(ann|bob)$' ORDER BY 1;
