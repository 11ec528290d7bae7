-- [statement] schemas
SELECT n.nspname, d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=n.oid AND d.objsubid=0 AND d.classoid='pg_namespace'::regclass WHERE n.nspname = 'nothing' ORDER BY nspname;

-- [statement] tables of a schema
SELECT c.relname, c.relkind, c.relnatts, c.relhasrules, c.relispartition, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) as partition_expr, pg_catalog.pg_get_partkeydef(c.oid) as partition_key FROM pg_catalog.pg_class c INNER JOIN pg_catalog.pg_namespace n ON n.oid=c.relnamespace LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_class'::regclass WHERE n.nspname='public' AND c.relkind not in ('i','I','c') ORDER BY c.relname;

-- [statement] columns of a table
SELECT c.relname,a.attname,a.attnum,a.atttypid,a.atttypmod,a.attnotnull,a.attidentity,a.attgenerated,pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) as def_value,dsc.description,dep.objid FROM pg_catalog.pg_attribute a INNER JOIN pg_catalog.pg_class c ON (a.attrelid=c.oid) LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid=ad.adrelid AND a.attnum = ad.adnum) LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid) LEFT OUTER JOIN pg_depend dep on dep.refobjid = a.attrelid AND dep.deptype = 'i' and dep.refobjsubid = a.attnum and dep.classid = dep.refclassid WHERE NOT a.attisdropped AND a.attnum > 0 AND c.oid='16386' ORDER BY a.attnum;

-- [statement] constraints
SELECT c.conname, c.contype, c.conkey, t.relname as tabrelname, rt.relnamespace as refnamespace, d.description, null as consrc_copy, pg_catalog.pg_get_constraintdef(c.oid) AS def FROM pg_catalog.pg_constraint c INNER JOIN pg_catalog.pg_class t ON t.oid=c.conrelid LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid=c.confrelid LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_constraint'::regclass WHERE c.conrelid='16386' ORDER BY c.oid;

-- [statement] indexes
SELECT i.indisunique, i.indisprimary, i.indkey as keys, c.relname, c.relnamespace = tc.relnamespace AS same, am.amname, tc.relname as tabrelname, dsc.description, pg_catalog.pg_get_expr(i.indpred, i.indrelid) as pred_expr, pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) as expr FROM pg_catalog.pg_index i INNER JOIN pg_catalog.pg_class c ON c.oid=i.indexrelid INNER JOIN pg_catalog.pg_class tc ON tc.oid=i.indrelid INNER JOIN pg_catalog.pg_am am ON am.oid = c.relam LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid=dsc.objoid WHERE i.indrelid='16386' ORDER BY tabrelname, c.relname;

-- [statement] sizes
select count(*) from (select c.oid, pg_catalog.pg_total_relation_size(c.oid) as total_rel_size, pg_catalog.pg_relation_size(c.oid) as rel_size FROM pg_class c WHERE c.relname IN ('customers', 'orders')) s where total_rel_size >= 0;

-- [statement] is it a replica
select pg_is_in_recovery();

-- [statement] the search path
SELECT current_schema(), current_schemas(false);
