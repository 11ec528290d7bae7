package pgwire

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// What a loader does over one connection: make a table, fill it, empty it, drop it.
func TestClientTables(t *testing.T) {
	k := newKit(t, kitOptions{users: true, writes: true})
	c := k.connect("user=lea password=lea-password")
	ctx := t.Context()
	exec := func(sql, tag string, params ...any) {
		t.Helper()
		got, err := c.Exec(ctx, sql, params...)
		require.NoError(t, err, sql)
		require.Equal(t, tag, got.String(), sql)
	}
	require.Equal(t, "off", c.PgConn().ParameterStatus("default_transaction_read_only"))
	const table = `"in".a`
	exec(`CREATE TABLE `+table+` (id bigint NOT NULL, word character varying(20), amount numeric(10,2), ok boolean, at timestamptz, day date, raw bytea, u uuid, doc jsonb, tags text[], big double precision, zone timetz, bits varbit)`, "CREATE TABLE")
	exec(`CREATE TABLE IF NOT EXISTS `+table+` (id int)`, "CREATE TABLE")
	require.Equal(t, "id BIGINT NOT NULL,word VARCHAR,amount DECIMAL(10,2),ok BOOLEAN,at TIMESTAMP WITH TIME ZONE,day DATE,raw BLOB,u UUID,doc JSON,tags VARCHAR[],big DOUBLE,zone TIME WITH TIME ZONE,bits BIT", k.columnsOf("in", "a"))

	exec(`INSERT INTO `+table+` VALUES (1, 'it''s', 1.005, 't', '2024-01-02 03:04:05+02', '2024-02-29', '\xdeadbeef', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": [1]}', '{x,"y z"}', 1e10, '01:02:03+02', '101'), (2, NULL, DEFAULT, false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);`, "INSERT 0 2")
	require.Equal(t, "1\tit's\t1.01\tt\t2024-01-02 01:04:05+00\t2024-02-29\t\\\\xdeadbeef\ta0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\t{\"a\": [1]}\t{x,\"y z\"}\t10000000000\t01:02:03+02\t101\n"+
		"2\t\\N\t\\N\tf\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n", dump(t, c, "SELECT * FROM "+table+" ORDER BY id"))
	at := time.Date(2026, 2, 28, 12, 30, 0, 123456000, time.UTC)
	for i := range 3 {
		exec(`INSERT INTO `+table+` (word, id, at, amount, tags) VALUES ($1, $2, $3, $4, $5)`, "INSERT 0 1", "bound", 10+i, at, "12.34", []string{"p"})
	}
	exec(`INSERT INTO `+table+` (id, word) SELECT i + 100, word FROM t WHERE i < 3`, "INSERT 0 3")
	require.Equal(t, "8\t3\t2026-02-28 12:30:00.123456+00\t12.34\n", dump(t, c, "SELECT count(*), count(at) FILTER (WHERE word = 'bound'), max(at), max(amount) FROM "+table))
	batch := &pgx.Batch{}
	for i := range 20 {
		batch.Queue(`INSERT INTO `+table+` (id) VALUES ($1)`, 1000+i)
	}
	require.NoError(t, c.SendBatch(ctx, batch).Close())
	exec("TRUNCATE TABLE "+table, "TRUNCATE TABLE")
	require.Equal(t, "0\n", dump(t, c, "SELECT count(*) FROM "+table))
	exec("DROP TABLE "+table, "DROP TABLE")
	exec("DROP TABLE IF EXISTS "+table, "DROP TABLE")

	exec(`CREATE TABLE `+table+` (id integer NOT NULL, word text)`, "CREATE TABLE")
	for sql, want := range map[string]string{
		"CREATE TABLE " + table + " (id integer)": "42P07", `CREATE TABLE "in".b (id serial)`: "0A000", `CREATE TABLE "in".b (n numeric)`: "0A000", `CREATE TABLE "in".b (id integer PRIMARY KEY)`: "0A000",
		`CREATE TABLE "in".b (id nosuchtype)`: "42704", `CREATE TABLE "in".b AS SELECT 1`: "0A000", "CREATE TEMP TABLE b (id integer)": "0A000", "CREATE INDEX ON t (i)": "0A000", "CREATE TABLE elsewhere (id integer)": "42501",
		"CREATE TABLE t (id integer)": "42501", "DROP TABLE t": "42501", `DROP TABLE "in".nothing`: "42P01", "TRUNCATE t": "42501", `TRUNCATE "in".nothing`: "42P01", `TRUNCATE "in".a, "in".b`: "0A000",
		"INSERT INTO t VALUES (1)": "42501", `INSERT INTO "in".nothing VALUES (1)`: "42P01", "INSERT INTO " + table + " VALUES (1, 'a', 2)": "42601", "INSERT INTO " + table + " (id, word) VALUES (1)": "42601",
		"INSERT INTO " + table + " (nothing) VALUES (1)": "42703", "INSERT INTO " + table + " VALUES ('x', 'a')": "22P02", "INSERT INTO " + table + " (word) VALUES ('a')": "23502", "INSERT INTO " + table + " VALUES (1), (2, 'a')": "42601",
		"INSERT INTO " + table + " VALUES (1) RETURNING id": "0A000", "INSERT INTO " + table + " VALUES (1) ON CONFLICT DO NOTHING": "0A000", "INSERT INTO " + table + " DEFAULT VALUES": "0A000", "INSERT INTO " + table + " VALUES (1": "42601",
		"INSERT INTO " + table + " SELECT * FROM hidden": "42501", "INSERT INTO " + table + " VALUES ((SELECT secret FROM hidden), 'a')": "42501",
		"UPDATE " + table + " SET id = 1": "25006", "DELETE FROM " + table: "25006", "ALTER TABLE " + table + " ADD x integer": "25006",
	} {
		_, err := c.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
		require.Error(t, err, sql)
		require.Equal(t, want, state(t, err), sql+": "+err.Error())
		require.Equal(t, "0\n", dump(t, c, "SELECT count(*) FROM "+table), sql)
	}
	// A role that writes nothing is told as before.
	reader := k.connect("user=ann password=" + quoteParam(annPassword))
	for _, sql := range []string{"CREATE TABLE x (id integer)", "DROP TABLE t", "TRUNCATE t", "INSERT INTO t VALUES (1)"} {
		_, err := reader.Exec(ctx, sql)
		require.Equal(t, "25006", state(t, err), sql)
	}
	// In a block each is a transaction of its own, and a rollback says so.
	r := k.connect("user=lea password=lea-password")
	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, "INSERT INTO "+table+" VALUES (1, 'a')")
	require.NoError(t, err)
	require.NoError(t, tx.Commit(ctx))
	tx, err = r.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, "INSERT INTO "+table+" VALUES (2, 'a')")
	require.NoError(t, err)
	require.Equal(t, "2D000", state(t, tx.Rollback(ctx)))
	require.Equal(t, "2\n", dump(t, c, "SELECT count(*) FROM "+table))
}

func (k *kit) columnsOf(schema, table string) string {
	k.t.Helper()
	c := k.connect("user=root password=root-password")
	var out string
	require.NoError(k.t, c.QueryRow(k.t.Context(), `SELECT string_agg(column_name || ' ' || data_type || CASE WHEN is_nullable THEN '' ELSE ' NOT NULL' END, ',' ORDER BY column_index) FROM duckdb_columns() WHERE schema_name = $1 AND table_name = $2`, schema, table).Scan(&out))
	return out
}
