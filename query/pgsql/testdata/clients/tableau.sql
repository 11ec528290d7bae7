-- [statement] a probe for the columns of a subquery
SELECT * FROM (SELECT id, note FROM orders) "TableauSQL" WHERE false LIMIT 1;

-- [statement] a probe with HAVING
SELECT 1 AS "COL" FROM (SELECT 1 AS "COL") AS "SUBQUERY" GROUP BY 1 HAVING COUNT(1) > 0;

-- [statement] a view of a sheet
SELECT "customers"."name" AS "name", SUM("orders"."amount") AS "sum:amount:ok", (COUNT(DISTINCT "orders"."id")) AS "ctd:id:ok" FROM "public"."orders" "orders" INNER JOIN "public"."customers" "customers" ON ("orders"."customer_id" = "customers"."id") GROUP BY 1 ORDER BY 1;

-- [statement] a date part and a truncated date
SELECT CAST(EXTRACT(YEAR FROM "customers"."created") AS INTEGER) AS "yr:created:ok", (DATE_TRUNC('QUARTER', CAST("customers"."created" AS TIMESTAMP)) ) AS "tqr:created:ok" FROM "public"."customers" "customers" WHERE NOT ("customers"."created" IS NULL) GROUP BY 1, 2;

-- [statement] the top of a filter
SELECT "orders"."customer_id" AS "customer_id", SUM("orders"."amount") AS "$__alias__0" FROM "public"."orders" "orders" GROUP BY 1 HAVING (SUM("orders"."amount") >= 1) ORDER BY 2 DESC LIMIT 10;

-- [statement] the domain of a quick filter
SELECT "orders"."note" AS "note" FROM "public"."orders" "orders" WHERE (("orders"."note" IN ('first', 'third')) OR (("orders"."note" IS NULL))) GROUP BY 1 ORDER BY 1 ASC NULLS FIRST;

-- [statement] bins and conditions
SELECT FLOOR("orders"."amount" / 10) * 10 AS "bin", SUM((CASE WHEN ("orders"."amount" > 50) THEN 1 WHEN NOT ("orders"."amount" > 50) THEN 0 ELSE NULL END)) AS "large" FROM "public"."orders" "orders" GROUP BY 1 ORDER BY 1;
