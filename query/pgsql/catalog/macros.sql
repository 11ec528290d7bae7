-- Functions of PostgreSQL that DuckDB does not have, or has with another answer. Each begins with an underscore, as no function of
-- DuckDB does: so a name that is not here can never be taken for one of those. DuckDB puts the arguments into the text as they are written,
-- so what is bound within begins with two underscores: a column or table of the statement would else be taken for it.

CREATE MACRO memory._pg._quote_ident(x) AS CASE WHEN regexp_full_match(x, '[a-z_][a-z0-9_$]*') AND lower(x) NOT IN ('all','analyse','analyze','and','any','array','as','asc','asymmetric','both','case','cast','check','collate','column','constraint','create','current_catalog','current_date','current_role','current_time','current_timestamp','current_user','default','deferrable','desc','distinct','do','else','end','except','false','fetch','for','foreign','from','grant','group','having','in','initially','intersect','into','lateral','leading','limit','localtime','localtimestamp','not','null','offset','on','only','or','order','placing','primary','references','returning','select','session_user','some','symmetric','table','then','to','trailing','true','union','unique','user','using','variadic','when','where','window','with','authorization','binary','collation','concurrently','cross','current_schema','freeze','full','ilike','inner','is','isnull','join','left','like','natural','notnull','outer','overlaps','right','similar','tablesample','verbose','between','bigint','bit','boolean','char','character','coalesce','dec','decimal','exists','extract','float','greatest','grouping','inout','int','integer','interval','least','national','nchar','none','nullif','numeric','out','overlay','position','precision','real','row','setof','smallint','substring','time','timestamp','treat','trim','values','varchar') THEN x ELSE '"' || replace(x, '"', '""') || '"' END;
CREATE MACRO memory._pgbase.indexdef(i, s, t, cols) AS 'CREATE UNIQUE INDEX ' || memory._pg._quote_ident(i) || ' ON ' || coalesce(memory._pg._quote_ident(s) || '.', '') || memory._pg._quote_ident(t) || ' USING btree (' || list_aggregate(list_transform(cols, lambda __c: memory._pg._quote_ident(__c)), 'string_agg', ', ') || ')';

-- Values in a STRUCT whose field's name says what they are sent as: see quotient.go.
CREATE MACRO memory._pg._numeric_quotient(n, d) AS CASE WHEN n IS NOT NULL AND d IS NOT NULL THEN {'numeric_quotient': n::VARCHAR || '/' || d::VARCHAR} END, (n, d, k) AS CASE WHEN n IS NOT NULL AND d IS NOT NULL THEN {'numeric_quotient': n::VARCHAR || '/' || d::VARCHAR || '/' || k} END;
CREATE MACRO memory._pg._numeric_double(x) AS CASE WHEN x IS NOT NULL THEN {'numeric_double': x::DOUBLE} END;
CREATE MACRO memory._pg._pg_oid(x) AS CASE WHEN x IS NOT NULL THEN {'pg_oid': x::UINTEGER} END;
CREATE MACRO memory._pg._pg_int2vector(x) AS CASE WHEN x IS NOT NULL THEN {'pg_int2vector': x::SMALLINT[]} END;
CREATE MACRO memory._pg._pg_oidvector(x) AS CASE WHEN x IS NOT NULL THEN {'pg_oidvector': x::UINTEGER[]} END;

-- Names and OIDs. A name in text is folded unless it is quoted; x is what was written before ::regclass and its like.
CREATE MACRO memory._pg._parse_ident(x) AS list_transform(regexp_extract_all(x, '"(?:[^"]|"")*"|[^".]+'), lambda __p: CASE WHEN starts_with(__p, '"') THEN replace(__p[2:-2], '""', '"') ELSE lower(trim(__p)) END);
CREATE MACRO memory._pg._to_regclass(x) AS (SELECT min(__r.__oid) FROM memory._pgbase.m_visible __r, (SELECT memory._pg._parse_ident(x::VARCHAR) AS __p) __q WHERE __r.__name = __q.__p[-1] AND (len(__q.__p) = 1 AND __r.__nsp IN (11, 2200) OR len(__q.__p) > 1 AND __r.__nspname = __q.__p[-2]));
CREATE MACRO memory._pg._regclass_in(x) AS coalesce(TRY_CAST(x::VARCHAR AS UINTEGER), memory._pg._to_regclass(x), CASE WHEN x IS NOT NULL THEN error('relation "' || x::VARCHAR || '" does not exist') END)::UINTEGER;
CREATE MACRO memory._pg._regclass_out(x) AS coalesce((SELECT CASE WHEN __r.__nsp IN (11, 2200) THEN '' ELSE memory._pg._quote_ident(__r.__nspname) || '.' END || memory._pg._quote_ident(__r.__name) FROM memory._pgbase.m_visible __r WHERE __r.__oid = x::UINTEGER), CASE WHEN x::UINTEGER = 0 THEN '-' ELSE x::VARCHAR END);
CREATE MACRO memory._pg._to_regtype(x) AS (SELECT min(__t.__oid) FROM memory._pgbase.m_types __t WHERE __t.__name = lower(replace(replace(x::VARCHAR, '"', ''), 'pg_catalog.', '')) OR __t.__sql = lower(replace(x::VARCHAR, 'pg_catalog.', '')) OR __t.__alias = lower(x::VARCHAR));
CREATE MACRO memory._pg._regtype_in(x) AS coalesce(TRY_CAST(x::VARCHAR AS UINTEGER), memory._pg._to_regtype(x), CASE WHEN x IS NOT NULL THEN error('type "' || x::VARCHAR || '" does not exist') END)::UINTEGER;
CREATE MACRO memory._pg._to_regproc(x) AS (SELECT min(__p.__oid) FROM memory._pgbase.m_procs __p WHERE __p.__name = lower(replace(x::VARCHAR, 'pg_catalog.', '')));
CREATE MACRO memory._pg._regproc_in(x) AS coalesce(TRY_CAST(x::VARCHAR AS UINTEGER), memory._pg._to_regproc(x), CASE WHEN x IS NOT NULL THEN error('function "' || x::VARCHAR || '" does not exist') END)::UINTEGER;
CREATE MACRO memory._pg._regproc_out(x) AS coalesce((SELECT __p.__name FROM memory._pgbase.m_procs __p WHERE __p.__oid = x::UINTEGER), CASE WHEN x::UINTEGER = 0 THEN '-' ELSE x::VARCHAR END);
CREATE MACRO memory._pg._to_regnamespace(x) AS (SELECT __n.__oid FROM memory._pgbase.m_namespaces __n WHERE __n.__name = memory._pg._parse_ident(x::VARCHAR)[-1]);
CREATE MACRO memory._pg._regnamespace_in(x) AS coalesce(TRY_CAST(x::VARCHAR AS UINTEGER), memory._pg._to_regnamespace(x), CASE WHEN x IS NOT NULL THEN error('schema "' || x::VARCHAR || '" does not exist') END)::UINTEGER;
CREATE MACRO memory._pg._regnamespace_out(x) AS coalesce((SELECT memory._pg._quote_ident(__n.__name) FROM memory._pgbase.m_namespaces __n WHERE __n.__oid = x::UINTEGER), x::VARCHAR);
CREATE MACRO memory._pg._to_regrole(x) AS (SELECT min(__r.__oid) FROM memory._pgbase.m_roles __r WHERE __r.__name = memory._pg._parse_ident(x::VARCHAR)[-1]);
CREATE MACRO memory._pg._regrole_in(x) AS coalesce(TRY_CAST(x::VARCHAR AS UINTEGER), memory._pg._to_regrole(x), CASE WHEN x IS NOT NULL THEN error('role "' || x::VARCHAR || '" does not exist') END)::UINTEGER;
CREATE MACRO memory._pg._pg_get_userbyid(x) AS coalesce((SELECT min(__r.__name) FROM memory._pgbase.m_roles __r WHERE __r.__oid = x), 'unknown (OID=' || x::VARCHAR || ')');
CREATE MACRO memory._pg._quote_literal(x) AS CASE WHEN contains(x::VARCHAR, '\') THEN 'E''' || replace(replace(x::VARCHAR, '\', '\\'), '''', '''''') || '''' ELSE '''' || replace(x::VARCHAR, '''', '''''') || '''' END;
CREATE MACRO memory._pg._quote_nullable(x) AS coalesce(memory._pg._quote_literal(x), 'NULL');

-- What is visible, and what is allowed.
CREATE MACRO memory._pg._pg_table_is_visible(x) AS (SELECT min(__r.__nsp IN (11, 2200)) FROM memory._pgbase.m_visible __r WHERE __r.__oid = x), (x, path) AS (SELECT min(list_contains(path, __r.__nspname)) FROM memory._pgbase.m_visible __r WHERE __r.__oid = x);
CREATE MACRO memory._pg._true(x) AS CASE WHEN x IS NOT NULL THEN true END;
CREATE MACRO memory._pg._can_read(x) AS (SELECT count(*) > 0 FROM memory._pgbase.m_visible __r WHERE __r.__oid = memory._pg._regclass_in(x));
CREATE MACRO memory._pg._only_select(p) AS regexp_full_match(lower(trim(p)), 'select');
CREATE MACRO memory._pg._has_table_privilege(x, p) AS CASE WHEN p IS NOT NULL AND x IS NOT NULL THEN regexp_matches(lower(p), '\bselect\b') AND memory._pg._can_read(x) END, (u, x, p) AS CASE WHEN u IS NOT NULL AND p IS NOT NULL AND x IS NOT NULL THEN regexp_matches(lower(p), '\bselect\b') AND memory._pg._can_read(x) END;
CREATE MACRO memory._pg._has_column_privilege(x, c, p) AS CASE WHEN p IS NOT NULL AND x IS NOT NULL AND c IS NOT NULL THEN regexp_matches(lower(p), '\bselect\b') AND memory._pg._can_read(x) END, (u, x, c, p) AS CASE WHEN u IS NOT NULL AND p IS NOT NULL AND x IS NOT NULL AND c IS NOT NULL THEN regexp_matches(lower(p), '\bselect\b') AND memory._pg._can_read(x) END;
CREATE MACRO memory._pg._has_usage(x, p) AS CASE WHEN x IS NOT NULL AND p IS NOT NULL THEN regexp_matches(lower(p), '\b(usage|connect|execute)\b') END, (u, x, p) AS CASE WHEN u IS NOT NULL AND x IS NOT NULL AND p IS NOT NULL THEN regexp_matches(lower(p), '\b(usage|connect|execute)\b') END;
CREATE MACRO memory._pg._pg_has_role(r, p) AS CASE WHEN r IS NOT NULL AND p IS NOT NULL THEN r::VARCHAR IN (getvariable('pintail_user'), '16383') END, (u, r, p) AS CASE WHEN u IS NOT NULL AND r IS NOT NULL AND p IS NOT NULL THEN u::VARCHAR = r::VARCHAR OR r::VARCHAR IN (getvariable('pintail_user'), '16383') END;

-- Descriptions.
CREATE MACRO memory._pg._obj_description(x) AS (SELECT __r.__comment FROM memory._pgbase.m_visible __r WHERE __r.__oid = x), (x, c) AS CASE WHEN replace(c, 'pg_catalog.', '') = 'pg_class' THEN (SELECT __r.__comment FROM memory._pgbase.m_visible __r WHERE __r.__oid = x) END;
CREATE MACRO memory._pg._shobj_description(x, c) AS NULL::VARCHAR;
CREATE MACRO memory._pg._col_description(x, n) AS (SELECT __c.__comment FROM memory._pgbase.m_columns __c JOIN memory._pgbase.m_visible __r ON __r.__oid = __c.__rel WHERE __c.__rel = x AND __c.__num = n);
CREATE MACRO memory._pg._pg_get_expr(x, r) AS x::VARCHAR, (x, r, p) AS x::VARCHAR;
CREATE MACRO memory._pg._pg_get_viewdef(x) AS (SELECT __r.__def FROM memory._pgbase.m_visible __r WHERE __r.__kind = 'v' AND __r.__oid = memory._pg._regclass_in(x)), (x, p) AS (SELECT __r.__def FROM memory._pgbase.m_visible __r WHERE __r.__kind = 'v' AND __r.__oid = memory._pg._regclass_in(x));
CREATE MACRO memory._pg._pg_get_constraintdef(x) AS (SELECT 'PRIMARY KEY (' || list_aggregate(list_transform(__k.__colnames, lambda __c: memory._pg._quote_ident(__c)), 'string_agg', ', ') || ')' FROM memory._pgbase.m_keys __k JOIN memory._pgbase.m_visible __r ON __r.__oid = __k.__rel WHERE __k.__oid = x), (x, p) AS (SELECT 'PRIMARY KEY (' || list_aggregate(list_transform(__k.__colnames, lambda __c: memory._pg._quote_ident(__c)), 'string_agg', ', ') || ')' FROM memory._pgbase.m_keys __k JOIN memory._pgbase.m_visible __r ON __r.__oid = __k.__rel WHERE __k.__oid = x);
CREATE MACRO memory._pg._pg_get_indexdef(x) AS (SELECT memory._pgbase.indexdef(__k.__name, __r.__nspname, __r.__name, __k.__colnames) FROM memory._pgbase.m_keys __k JOIN memory._pgbase.m_visible __r ON __r.__oid = __k.__rel WHERE __k.__index = x), (x, n, p) AS (SELECT CASE WHEN n = 0 THEN memory._pgbase.indexdef(__k.__name, CASE WHEN NOT p OR __r.__nsp <> 2200 THEN __r.__nspname END, __r.__name, __k.__colnames) ELSE memory._pg._quote_ident(__k.__colnames[n]) END FROM memory._pgbase.m_keys __k JOIN memory._pgbase.m_visible __r ON __r.__oid = __k.__rel WHERE __k.__index = x);
CREATE MACRO memory._pg._pg_index_column_has_property(x, n, p) AS CASE lower(p) WHEN 'asc' THEN true WHEN 'desc' THEN false WHEN 'nulls_first' THEN false WHEN 'nulls_last' THEN true WHEN 'orderable' THEN true END;
CREATE MACRO memory._pg._text1(x) AS NULL::VARCHAR, (x, a) AS NULL::VARCHAR, (x, a, b) AS NULL::VARCHAR;
CREATE MACRO memory._pg._pg_get_function_arguments(x) AS CASE WHEN x IS NOT NULL THEN '' END;
CREATE MACRO memory._pg._pg_get_function_result(x) AS (SELECT memory._pg._format_type(__p.__ret, NULL) FROM memory._pgbase.m_procs __p WHERE __p.__oid = x);
CREATE MACRO memory._pg._pg_relation_is_publishable(x) AS (SELECT min(__r.__kind = 'r' AND NOT __r.__system) FROM memory._pgbase.m_visible __r WHERE __r.__oid = memory._pg._regclass_in(x));
CREATE MACRO memory._pg._pg_partition_ancestors(x) AS []::UINTEGER[];
CREATE MACRO memory._pg._pg_encoding_to_char(x) AS CASE x WHEN 6 THEN 'UTF8' WHEN 0 THEN 'SQL_ASCII' ELSE '' END;
CREATE MACRO memory._pg._pg_char_to_encoding(x) AS CASE WHEN lower(x) IN ('utf8', 'utf-8', 'unicode') THEN 6 WHEN lower(x) = 'sql_ascii' THEN 0 ELSE -1 END;
CREATE MACRO memory._pg._getdatabaseencoding() AS 'UTF8';
CREATE MACRO memory._pg._pg_client_encoding() AS 'UTF8';
CREATE MACRO memory._pg._size(x) AS (SELECT __r.__tuples * __r.__natts * 8 FROM memory._pgbase.m_visible __r WHERE __r.__oid = memory._pg._regclass_in(x)), (x, f) AS (SELECT __r.__tuples * __r.__natts * 8 FROM memory._pgbase.m_visible __r WHERE __r.__oid = memory._pg._regclass_in(x));
CREATE MACRO memory._pg._pg_database_size(x) AS (SELECT coalesce(sum(__r.__tuples * __r.__natts * 8), 0)::BIGINT FROM memory._pgbase.m_visible __r);
CREATE MACRO memory._pg._zero(x) AS CASE WHEN x IS NOT NULL THEN 0::BIGINT END;
CREATE MACRO memory._pg._pg_size_pretty(x) AS CASE WHEN abs(x) < 10240 THEN x::BIGINT || ' bytes' WHEN abs(x) < 10240 * 1024 - 512 THEN round(x / 1024.0)::BIGINT || ' kB' WHEN abs(x) < (10240 * 1024 - 512) * 1024::BIGINT THEN round(x / 1048576.0)::BIGINT || ' MB' WHEN abs(x) < (10240 * 1024 - 512) * 1048576::BIGINT THEN round(x / 1073741824.0)::BIGINT || ' GB' ELSE round(x / 1099511627776.0)::BIGINT || ' TB' END;

-- The session and the server.
CREATE MACRO memory._pg._version() AS 'PostgreSQL 15.18 (Pintail, DuckDB ' || system.main.version() || ')';
CREATE MACRO memory._pg._current_user() AS coalesce(getvariable('pintail_user'), 'pintail')::VARCHAR;
CREATE MACRO memory._pg._current_database() AS (SELECT __i.__name::VARCHAR FROM memory._pgbase.m_instance __i);
CREATE MACRO memory._pg._current_schema() AS 'public'::VARCHAR;
CREATE MACRO memory._pg._current_schemas(implicit) AS CASE WHEN implicit THEN ['pg_catalog', 'public'] ELSE ['public'] END;
CREATE MACRO memory._pg._current_setting(x) AS CASE WHEN lower(x) = 'timezone' THEN system.main.current_setting('TimeZone') ELSE coalesce((SELECT min(__s.__setting) FROM memory._pgbase.m_settings __s WHERE lower(__s.__name) = lower(x)), error('unrecognized configuration parameter "' || x || '"')) END, (x, missing) AS CASE WHEN lower(x) = 'timezone' THEN system.main.current_setting('TimeZone') ELSE coalesce((SELECT min(__s.__setting) FROM memory._pgbase.m_settings __s WHERE lower(__s.__name) = lower(x)), CASE WHEN NOT missing THEN error('unrecognized configuration parameter "' || x || '"') END) END;
CREATE MACRO memory._pg._set_config(x, v, l) AS v::VARCHAR;
CREATE MACRO memory._pg._pg_backend_pid() AS coalesce(getvariable('pintail_pid'), '0')::INTEGER;
CREATE MACRO memory._pg._pg_cancel_backend(pid) AS system.main._pintail_host('cancel', getvariable('pintail_pid'), (0 + pid::INTEGER)::VARCHAR)::BOOLEAN;
CREATE MACRO memory._pg._pg_terminate_backend(pid) AS system.main._pintail_host('terminate', getvariable('pintail_pid'), (0 + pid::INTEGER)::VARCHAR)::BOOLEAN;
CREATE MACRO memory._pg._false() AS false;
CREATE MACRO memory._pg._pg_postmaster_start_time() AS (SELECT __i.__started FROM memory._pgbase.m_instance __i);
CREATE MACRO memory._pg._null_text() AS NULL::VARCHAR;
CREATE MACRO memory._pg._null_int() AS NULL::INTEGER;
CREATE MACRO memory._pg._one() AS 1::BIGINT;

-- Arrays.
CREATE MACRO memory._pg._array_length(a, d) AS CASE WHEN d = 1 AND len(a) > 0 THEN len(a)::INTEGER END;
CREATE MACRO memory._pg._array_lower(a, d) AS CASE WHEN d = 1 AND len(a) > 0 THEN 1 END;
CREATE MACRO memory._pg._array_ndims(a) AS CASE WHEN len(a) > 0 THEN 1 END;
CREATE MACRO memory._pg._cardinality(a) AS len(a)::INTEGER;
CREATE MACRO memory._pg._array_remove(a, x) AS list_filter(a, lambda __e: __e IS DISTINCT FROM x);
CREATE MACRO memory._pg._array_replace(a, x, y) AS list_transform(a, lambda __e: CASE WHEN __e IS NOT DISTINCT FROM x THEN y ELSE __e END);
CREATE MACRO memory._pg._array_position(a, x) AS nullif(list_position(a, x), 0)::INTEGER;

-- Values.
CREATE MACRO memory._pg._text(x) AS x::VARCHAR;
CREATE MACRO memory._pg._array_to_string(a, s) AS CASE WHEN a IS NOT NULL AND s IS NOT NULL THEN coalesce(list_aggregate(list_transform(list_filter(a, lambda __e: __e IS NOT NULL), lambda __e: memory._pg._text(__e)), 'string_agg', s), '') END, (a, s, n) AS CASE WHEN a IS NOT NULL AND s IS NOT NULL THEN coalesce(list_aggregate(list_transform(a, lambda __e: coalesce(memory._pg._text(__e), n)), 'string_agg', s), '') END;
CREATE MACRO memory._pg._string_to_array(x, s) AS CASE WHEN x = '' THEN []::VARCHAR[] WHEN s IS NULL THEN string_split(x, '') ELSE string_split(x, s) END, (x, s, n) AS CASE WHEN x = '' THEN []::VARCHAR[] ELSE list_transform(string_split(x, s), lambda __e: nullif(__e, n)) END;
CREATE MACRO memory._pg._generate_subscripts(a, d) AS CASE WHEN d = 1 THEN range(1, len(a) + 1)::INTEGER[] END;
CREATE MACRO memory._pg._pg_expandarray(a) AS list_transform(a, lambda __v, __i: {'x': __v, 'n': __i::INTEGER});
CREATE MACRO memory._pg._vector_text(a) AS list_aggregate(list_transform(a, lambda __e: __e::VARCHAR), 'string_agg', ' ');
CREATE MACRO memory._pg._nonzero(x) AS CASE WHEN x = 0 THEN error('division by zero') ELSE x END;
CREATE MACRO memory._pg._regexp_match(x, p) AS CASE WHEN regexp_matches(x, p) THEN [regexp_extract(x, p, 0)] END;
CREATE MACRO memory._pg._regexp_match_groups(x, p) AS CASE WHEN regexp_matches(x, p) THEN regexp_extract_all(x, p, 1)[1:1] END;
CREATE MACRO memory._pg._overlay(x, y, f) AS left(x, f::BIGINT - 1) || y || substr(x, f::BIGINT + length(y)), (x, y, f, n) AS left(x, f::BIGINT - 1) || y || substr(x, f::BIGINT + n);
CREATE MACRO memory._pg._split_part(x, s, n) AS CASE WHEN n = 0 THEN error('field position must not be zero') WHEN s = '' THEN CASE WHEN n IN (1, -1) THEN x ELSE '' END ELSE split_part(x, s, n::INTEGER) END;
CREATE MACRO memory._pg._initcap(x) AS list_aggregate(list_transform(regexp_extract_all(x, '[\p{L}\p{N}]+|[^\p{L}\p{N}]+'), lambda __w: upper(__w[1]) || lower(__w[2:])), 'string_agg', '');
CREATE MACRO memory._pg._btrim(x) AS trim(x, ' '), (x, c) AS trim(x, c);
CREATE MACRO memory._pg._ltrim(x) AS ltrim(x, ' '), (x, c) AS ltrim(x, c);
CREATE MACRO memory._pg._rtrim(x) AS rtrim(x, ' '), (x, c) AS rtrim(x, c);
CREATE MACRO memory._pg._left(x, n) AS left(x, n);
CREATE MACRO memory._pg._lpad(x, n) AS lpad(x, greatest(n, 0)::INTEGER, ' '), (x, n, c) AS CASE WHEN c = '' THEN left(x, n) ELSE lpad(x, greatest(n, 0)::INTEGER, c) END;
CREATE MACRO memory._pg._rpad(x, n) AS rpad(x, greatest(n, 0)::INTEGER, ' '), (x, n, c) AS CASE WHEN c = '' THEN left(x, n) ELSE rpad(x, greatest(n, 0)::INTEGER, c) END;
CREATE MACRO memory._pg._int4(x) AS x::INTEGER;
CREATE MACRO memory._pg._substr(x, f) AS CASE WHEN f < 1 THEN x ELSE substr(x, f::BIGINT) END, (x, f, n) AS CASE WHEN n < 0 THEN error('negative substring length not allowed') WHEN f < 1 THEN left(x, greatest(f::BIGINT + n - 1, 0)) ELSE substr(x, f::BIGINT, n::BIGINT) END;
CREATE MACRO memory._pg._md5(x) AS md5(x);
CREATE MACRO memory._pg._log(x) AS log10(x), (b, x) AS ln(x) / ln(b);
CREATE MACRO memory._pg._div(a, b) AS trunc(a / memory._pg._nonzero(b));
CREATE MACRO memory._pg._mod(a, b) AS a % memory._pg._nonzero(b);
CREATE MACRO memory._pg._to_hex(x) AS lower(hex(x));
CREATE MACRO memory._pg._like(x, p) AS like_escape(x, p, '\');
CREATE MACRO memory._pg._not_like(x, p) AS not_like_escape(x, p, '\');
CREATE MACRO memory._pg._ilike(x, p) AS ilike_escape(x, p, '\');
CREATE MACRO memory._pg._not_ilike(x, p) AS not_ilike_escape(x, p, '\');
CREATE MACRO memory._pg._json_typeof(x) AS CASE json_type(x) WHEN 'OBJECT' THEN 'object' WHEN 'ARRAY' THEN 'array' WHEN 'VARCHAR' THEN 'string' WHEN 'BOOLEAN' THEN 'boolean' WHEN 'NULL' THEN 'null' ELSE CASE WHEN x IS NOT NULL THEN 'number' END END;
CREATE MACRO memory._pg._json_path(p) AS '$' || list_aggregate(list_transform(p, lambda __e: CASE WHEN regexp_full_match(__e, '[0-9]+') THEN '[' || __e || ']' ELSE '."' || __e || '"' END), 'string_agg', '');
CREATE MACRO memory._pg._json_array_elements(x) AS json_extract(x, '$[*]');
CREATE MACRO memory._pg._json_array_elements_text(x) AS json_extract_string(x, '$[*]');
CREATE MACRO memory._pg._justify_days(x) AS to_months((extract(day FROM x) // 30)::INTEGER + (extract(year FROM x) * 12 + extract(month FROM x))::INTEGER) + to_days((extract(day FROM x) % 30)::INTEGER);
CREATE MACRO memory._pg._epoch(x) AS epoch(x);
CREATE MACRO memory._pg._float_text(x) AS CASE WHEN isnan(x) THEN 'NaN' WHEN isinf(x) THEN CASE WHEN x > 0 THEN 'Infinity' ELSE '-Infinity' END WHEN abs(x) >= 1e15 THEN regexp_replace(regexp_replace(printf('%.16e', x::DOUBLE), '\.?0*e', 'e'), 'e\+?(-?)([0-9])$', 'e+\10\2') ELSE regexp_replace(x::VARCHAR, '\.0$', '') END;
CREATE MACRO memory._pg._interval_text(x) AS regexp_replace(regexp_replace(x::VARCHAR, 'month', 'mon'), '-1 (year|mon|day)( |$)', '-1 \1s\2', 'g');
CREATE MACRO memory._pg._bytea_text(x) AS '\x' || lower(hex(x));
CREATE MACRO memory._pg._array_item(e) AS CASE WHEN e IS NULL THEN 'NULL' WHEN e = '' OR lower(e) = 'null' OR regexp_matches(e, '[{}",\\\s]') THEN '"' || replace(replace(e, '\', '\\'), '"', '\"') || '"' ELSE e END;
CREATE MACRO memory._pg._array_text(a) AS CASE WHEN a IS NOT NULL THEN '{' || coalesce(list_aggregate(list_transform(a, lambda __e: memory._pg._array_item(__e::VARCHAR)), 'string_agg', ','), '') || '}' END;
CREATE MACRO memory._pg._array_in(x) AS CASE WHEN x IS NULL THEN NULL WHEN NOT regexp_full_match(x, '\s*\{.*\}\s*', 's') THEN error('malformed array literal: "' || x || '"') WHEN regexp_full_match(x, '\s*\{\s*\}\s*') THEN []::VARCHAR[] ELSE list_transform(regexp_extract_all(trim(x)[2:-2], '"(?:[^"\\]|\\.)*"|[^,]+'), lambda __e: CASE WHEN upper(trim(__e)) = 'NULL' THEN NULL WHEN starts_with(trim(__e), '"') THEN regexp_replace(trim(__e)[2:-2], '\\(.)', '\1', 'g') ELSE trim(__e) END) END;
CREATE MACRO memory._pg._json_keys(x) AS json_keys(x);
CREATE MACRO memory._pg._regexp_split(x, p) AS regexp_split_to_array(x, p);
CREATE MACRO memory._pg._keywords() AS list_sort(list_concat(list_concat(list_concat(list_concat(list_concat(list_concat(list_concat(list_transform(string_split('char character precision', ' '), lambda __w: {'word': __w, 'catcode': 'C', 'barelabel': false, 'catdesc': 'unreserved (cannot be function or type name)', 'baredesc': 'requires AS'}), list_transform(string_split('between bigint bit boolean coalesce dec decimal exists extract float greatest grouping inout int integer interval least national nchar none normalize nullif numeric out overlay position real row setof smallint substring time timestamp treat trim values varchar xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable', ' '), lambda __w: {'word': __w, 'catcode': 'C', 'barelabel': true, 'catdesc': 'unreserved (cannot be function or type name)', 'baredesc': 'can be bare label'})), list_transform(string_split('array as create except fetch for from grant group having intersect into limit offset on order returning to union where window with', ' '), lambda __w: {'word': __w, 'catcode': 'R', 'barelabel': false, 'catdesc': 'reserved', 'baredesc': 'requires AS'})), list_transform(string_split('all analyse analyze and any asc asymmetric both case cast check collate column constraint current_catalog current_date current_role current_time current_timestamp current_user default deferrable desc distinct do else end false foreign in initially lateral leading localtime localtimestamp not null only or placing primary references select session_user some symmetric table then trailing true unique user using variadic when', ' '), lambda __w: {'word': __w, 'catcode': 'R', 'barelabel': true, 'catdesc': 'reserved', 'baredesc': 'can be bare label'})), list_transform(string_split('isnull notnull overlaps', ' '), lambda __w: {'word': __w, 'catcode': 'T', 'barelabel': false, 'catdesc': 'reserved (can be function or type name)', 'baredesc': 'requires AS'})), list_transform(string_split('authorization binary collation concurrently cross current_schema freeze full ilike inner is join left like natural outer right similar tablesample verbose', ' '), lambda __w: {'word': __w, 'catcode': 'T', 'barelabel': true, 'catdesc': 'reserved (can be function or type name)', 'baredesc': 'can be bare label'})), list_transform(string_split('day filter hour minute month over second varying within without year', ' '), lambda __w: {'word': __w, 'catcode': 'U', 'barelabel': false, 'catdesc': 'unreserved', 'baredesc': 'requires AS'})), list_transform(string_split('abort absolute access action add admin after aggregate also alter always asensitive assertion assignment at atomic attach attribute backward before begin breadth by cache call called cascade cascaded catalog chain characteristics checkpoint class close cluster columns comment comments commit committed compression configuration conflict connection constraints content continue conversion copy cost csv cube current cursor cycle data database deallocate declare defaults deferred definer delete delimiter delimiters depends depth detach dictionary disable discard document domain double drop each enable encoding encrypted enum escape event exclude excluding exclusive execute explain expression extension external family finalize first following force forward function functions generated global granted groups handler header hold identity if immediate immutable implicit import include including increment index indexes inherit inherits inline input insensitive insert instead invoker isolation key label language large last leakproof level listen load local location lock locked logged mapping match matched materialized maxvalue merge method minvalue mode move name names new next nfc nfd nfkc nfkd no normalized nothing notify nowait nulls object of off oids old operator option options ordinality others overriding owned owner parallel parameter parser partial partition passing password plans policy preceding prepare prepared preserve prior privileges procedural procedure procedures program publication quote range read reassign recheck recursive ref referencing refresh reindex relative release rename repeatable replace replica reset restart restrict return returns revoke role rollback rollup routine routines rows rule savepoint schema schemas scroll search security sequence sequences serializable server session set sets share show simple skip snapshot sql stable standalone start statement statistics stdin stdout storage stored strict strip subscription support sysid system tables tablespace temp template temporary text ties transaction transform trigger truncate trusted type types uescape unbounded uncommitted unencrypted unknown unlisten unlogged until update vacuum valid validate validator value version view views volatile whitespace work wrapper write xml yes zone', ' '), lambda __w: {'word': __w, 'catcode': 'U', 'barelabel': true, 'catdesc': 'unreserved', 'baredesc': 'can be bare label'})));
CREATE MACRO memory._pg._no_acl(x) AS []::STRUCT(grantor UINTEGER, grantee UINTEGER, privilege_type VARCHAR, is_grantable BOOLEAN)[];
CREATE MACRO memory._pg._no_options(x) AS []::STRUCT(option_name VARCHAR, option_value VARCHAR)[];
CREATE MACRO memory._pg._first_match(a) AS list_transform(a[1:1], lambda __e: [__e]);
CREATE MACRO memory._pg._each_match(a) AS list_transform(a, lambda __e: [__e]);
CREATE MACRO memory._pg._number_digits(x, zeroes, scale, optional, grouped) AS (CASE WHEN grouped THEN regexp_replace(reverse(regexp_replace(reverse(CASE WHEN trunc(abs(round(x::DECIMAL(38,10), scale))) = 0 AND zeroes = 0 AND scale > 0 THEN '' ELSE lpad(trunc(abs(round(x::DECIMAL(38,10), scale)))::BIGINT::VARCHAR, greatest(zeroes, length(trunc(abs(round(x::DECIMAL(38,10), scale)))::BIGINT::VARCHAR))::INTEGER, '0') END), '([0-9]{3})', '\1,', 'g')), '^,', '') ELSE CASE WHEN trunc(abs(round(x::DECIMAL(38,10), scale))) = 0 AND zeroes = 0 AND scale > 0 THEN '' ELSE lpad(trunc(abs(round(x::DECIMAL(38,10), scale)))::BIGINT::VARCHAR, greatest(zeroes, length(trunc(abs(round(x::DECIMAL(38,10), scale)))::BIGINT::VARCHAR))::INTEGER, '0') END END) || CASE WHEN scale > 0 THEN '.' || regexp_replace(left(split_part(abs(round(x::DECIMAL(38,10), scale))::VARCHAR, '.', 2) || '0000000000', scale::INTEGER), '0{0,' || optional || '}$', '') ELSE '' END;
CREATE MACRO memory._pg._number_text(x, width, zeroes, scale, optional, grouped, fill, total) AS CASE WHEN x IS NULL THEN NULL WHEN length(trunc(abs(round(x::DECIMAL(38,10), scale)))::BIGINT::VARCHAR) > greatest(width, 1) THEN CASE WHEN fill THEN '' ELSE ' ' END || repeat('#', total - 1) WHEN fill THEN CASE WHEN round(x::DECIMAL(38,10), scale) < 0 THEN '-' ELSE '' END || memory._pg._number_digits(x, zeroes, scale, optional, grouped) ELSE lpad(CASE WHEN round(x::DECIMAL(38,10), scale) < 0 THEN '-' ELSE '' END || memory._pg._number_digits(x, zeroes, scale, optional, grouped), total::INTEGER, ' ') END;
CREATE MACRO memory._pg._width_bucket(x, low, high, n) AS CASE WHEN n <= 0 THEN error('count must be greater than zero') WHEN low = high THEN error('lower bound cannot equal upper bound') WHEN low < high THEN CASE WHEN x < low THEN 0 WHEN x >= high THEN n + 1 ELSE least(floor((x - low) * n / (high - low))::INTEGER, n - 1) + 1 END ELSE CASE WHEN x > low THEN 0 WHEN x <= high THEN n + 1 ELSE least(floor((low - x) * n / (low - high))::INTEGER, n - 1) + 1 END END::INTEGER, (x, bounds) AS len(list_filter(bounds, lambda __b: __b <= x))::INTEGER;
CREATE MACRO memory._pg._any(a, x) AS CASE WHEN a IS NULL OR x IS NULL THEN NULL WHEN list_contains(a, x) THEN true WHEN list_count(a) < len(a) THEN NULL ELSE false END;
CREATE MACRO memory._pg._pg_tablespace_location(x) AS CASE WHEN x IS NOT NULL THEN '' END;

CREATE MACRO memory._pg._num_nulls(a) AS (len(a) - list_count(a))::INTEGER;
CREATE MACRO memory._pg._num_nonnulls(a) AS list_count(a)::INTEGER;

CREATE MACRO memory._pg._when(c, x) AS CASE WHEN c THEN x END;

-- A pattern against each of an array.
CREATE MACRO memory._pg._like_any(x, a) AS CASE WHEN a IS NOT NULL AND x IS NOT NULL THEN len(list_filter(a, lambda __p: like_escape(x, __p, '\'))) > 0 END;
CREATE MACRO memory._pg._like_all(x, a) AS CASE WHEN a IS NOT NULL AND x IS NOT NULL THEN len(list_filter(a, lambda __p: like_escape(x, __p, '\'))) = len(a) END;
CREATE MACRO memory._pg._ilike_any(x, a) AS CASE WHEN a IS NOT NULL AND x IS NOT NULL THEN len(list_filter(a, lambda __p: ilike_escape(x, __p, '\'))) > 0 END;
CREATE MACRO memory._pg._ilike_all(x, a) AS CASE WHEN a IS NOT NULL AND x IS NOT NULL THEN len(list_filter(a, lambda __p: ilike_escape(x, __p, '\'))) = len(a) END;

-- Times, texts, JSON and arrays that are written otherwise in DuckDB.
CREATE MACRO memory._pg._trunc_years(x, n) AS date_trunc('year', x) - to_years(((year(x) - 1) % n)::INTEGER);
CREATE MACRO memory._pg._clock_micros(x) AS (extract(hour FROM x) * 3600 + extract(minute FROM x) * 60) * 1000000 + extract(microseconds FROM x);
CREATE MACRO memory._pg._justify_hours(x) AS to_months((extract(year FROM x) * 12 + extract(month FROM x))::INTEGER) + to_days((extract(day FROM x) + memory._pg._clock_micros(x) // 86400000000)::INTEGER) + to_microseconds(memory._pg._clock_micros(x) % 86400000000);
CREATE MACRO memory._pg._overlaps(a, b, c, d) AS least(a, b) = least(c, d) OR least(a, b) < greatest(c, d) AND least(c, d) < greatest(a, b);
CREATE MACRO memory._pg._regexp_count(x, p) AS len(regexp_extract_all(x, p))::INTEGER;
CREATE MACRO memory._pg._regexp_substr(x, p) AS CASE WHEN regexp_matches(x, p) THEN regexp_extract(x, p) END;
CREATE MACRO memory._pg._each_match_2(a, b) AS list_transform(list_zip(a, b), lambda __e: [__e[1], __e[2]]);
CREATE MACRO memory._pg._each_match_3(a, b, c) AS list_transform(list_zip(a, b, c), lambda __e: [__e[1], __e[2], __e[3]]);
CREATE MACRO memory._pg._convert_from(x, e) AS decode(x);
CREATE MACRO memory._pg._convert_to(x, e) AS encode(x);
CREATE MACRO memory._pg._sha256(x) AS unhex(sha256(x));
CREATE MACRO memory._pg._json_has(x, k) AS CASE json_type(x) WHEN 'ARRAY' THEN json_contains(x, to_json(k::VARCHAR)) ELSE json_exists(x, '$."' || replace(k, '"', '\"') || '"') END;
CREATE MACRO memory._pg._json_has_any(x, a) AS len(list_filter(a, lambda __k: memory._pg._json_has(x, __k))) > 0;
CREATE MACRO memory._pg._json_has_all(x, a) AS len(list_filter(a, lambda __k: memory._pg._json_has(x, __k))) = len(a);
CREATE MACRO memory._pg._array_fill(v, d) AS list_transform(range(d[1]), lambda __i: v);
CREATE MACRO memory._pg._array_dims(a) AS CASE WHEN len(a) > 0 THEN '[1:' || len(a) || ']' END;
CREATE MACRO memory._pg._trim_array(a, n) AS a[1:len(a) - n];
CREATE MACRO memory._pg._padded(x, n) AS CASE WHEN length(x) >= abs(n) THEN x WHEN n < 0 THEN rpad(x, -n::INTEGER, ' ') ELSE lpad(x, n::INTEGER, ' ') END;
