package pgwire

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/query/pgsql"
)

// translating is a kit with PostgreSQL's catalog and functions.
func translating(t *testing.T) *kit {
	var translator *pgsql.Translator
	k := newKit(t, kitOptions{users: true, server: func(o *Options) {
		o.Translate = func(ctx context.Context, sql string) (string, error) { return translator.Translate(ctx, sql) }
	}})
	var err error
	translator, err = pgsql.New(t.Context(), pgsql.Options{Store: k.store, Access: k.access, Database: "shop"})
	require.NoError(t, err)
	k.store.SetHost(k.core.Answer)
	return k
}

func pidOf(t *testing.T, c *pgx.Conn) (pid uint32) {
	t.Helper()
	require.NoError(t, c.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid))
	require.Equal(t, c.PgConn().PID(), pid)
	return pid
}

var asAnn, asBot, asRoot = "user=ann password=" + quoteParam(annPassword), "user=bot password=" + botToken, "user=root password=root-password"

const endless = "SELECT count(*) FROM range(1000000000000) a, t"

// start begins a statement that does not end by itself, and waits until it is seen to run.
func (k *kit) start(c *pgx.Conn) <-chan error {
	k.t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := c.Exec(context.Background(), endless)
		ended <- err
	}()
	require.Eventually(k.t, func() bool {
		for _, q := range k.core.List() {
			if q.SQL == endless && !q.Waiting {
				return true
			}
		}
		return false
	}, 20*time.Second, time.Millisecond)
	return ended
}

func TestActivity(t *testing.T) {
	k := translating(t)
	ann, ann2 := k.connect(asAnn), k.connect(asAnn)
	bot, root := k.connect(asBot), k.connect(asRoot)
	running := k.start(ann)
	type row struct {
		PID               uint32
		User, State, SQL  string
		Addr, Application *string
		Since             *time.Time
	}
	ask := func(c *pgx.Conn) map[uint32]row {
		t.Helper()
		rows, err := c.Query(t.Context(), "SELECT pid, usename, state, query, client_addr::text, application_name, query_start FROM pg_stat_activity WHERE datname = current_database()")
		require.NoError(t, err)
		list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
		require.NoError(t, err)
		all := map[uint32]row{}
		for _, r := range list {
			all[r.PID] = r
		}
		return all
	}
	a, a2, b, r := ann.PgConn().PID(), pidOf(t, ann2), pidOf(t, bot), pidOf(t, root)
	mine := ask(ann2)
	require.Len(t, mine, 2, "others' are not for a reader")
	require.Equal(t, []string{"ann", "active", endless}, []string{mine[a].User, mine[a].State, mine[a].SQL})
	require.Equal(t, "127.0.0.1", *mine[a].Addr)
	require.Equal(t, "pgwire", *mine[a].Application)
	require.WithinDuration(t, time.Now(), *mine[a].Since, time.Minute)
	require.Contains(t, mine[a2].SQL, "pg_stat_activity")
	all := ask(root)
	require.Len(t, all, 4)
	require.Equal(t, []string{"bot", "idle", ""}, []string{all[b].User, all[b].State, all[b].SQL})
	require.Equal(t, "active", all[r].State)

	// Statements that came through other doors have numbers that no connection has.
	res, err := k.core.Run(t.Context(), access.Principal{User: "bot", Role: "reader"}, query.Request{SQL: "SELECT i FROM t", Door: "http"})
	require.NoError(t, err)
	defer res.Close()
	for pid, row := range ask(root) {
		if *row.Application == "http" {
			require.Zero(t, pid%2)
			require.Equal(t, "SELECT i FROM t", row.SQL)
			all[pid] = row
		}
	}
	require.Len(t, all, 5)

	var done bool
	end := func(c *pgx.Conn, fn string, pid uint32) bool {
		t.Helper()
		require.NoError(t, c.QueryRow(t.Context(), "SELECT "+fn+"($1)", pid).Scan(&done))
		return done
	}
	require.False(t, end(bot, "pg_cancel_backend", a), "another's")
	require.False(t, end(bot, "pg_terminate_backend", a))
	require.False(t, end(ann2, "pg_cancel_backend", 4711), "nobody's")
	require.Empty(t, running)
	require.True(t, end(ann2, "pg_cancel_backend", a), "one's own")
	var pgErr *pgconn.PgError
	require.ErrorAs(t, <-running, &pgErr)
	require.Equal(t, "57014", pgErr.Code)
	require.NoError(t, ann.Ping(t.Context()), "the connection goes on")

	// Of many, in one statement, as administrators do.
	running = k.start(ann)
	var ended int
	require.NoError(t, root.QueryRow(t.Context(), "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%range(1000000%' AND pid <> pg_backend_pid()").Scan(&ended))
	require.Equal(t, 1, ended)
	require.ErrorAs(t, <-running, &pgErr)
	require.Equal(t, "57014", pgErr.Code)
}

func TestTerminateBackend(t *testing.T) {
	k := translating(t)
	ann, bot, root := k.connect(asAnn), k.connect(asBot), k.connect(asRoot)
	running := k.start(ann)
	idle := pidOf(t, bot)
	for _, pid := range []uint32{ann.PgConn().PID(), idle} {
		var done bool
		require.NoError(t, root.QueryRow(t.Context(), "SELECT pg_terminate_backend($1)", pid).Scan(&done))
		require.True(t, done)
	}
	var pgErr *pgconn.PgError
	require.ErrorAs(t, <-running, &pgErr)
	require.Equal(t, "57P01", pgErr.Code)
	require.Equal(t, "FATAL", pgErr.Severity)
	_, err := bot.Exec(t.Context(), "SELECT 1")
	require.Error(t, err)
	require.Eventually(t, func() bool {
		var n int
		return root.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity").Scan(&n) == nil && n == 1
	}, 20*time.Second, 5*time.Millisecond)
}

// Describing a statement that would cancel does not cancel, and a reader reaches what answers by no other way.
func TestCancelIsNoSideEffectOfPlanning(t *testing.T) {
	k := translating(t)
	ann, ann2 := k.connect(asAnn), k.connect(asAnn)
	running := k.start(ann)
	_, err := ann2.Prepare(t.Context(), "p", fmt.Sprintf("SELECT pg_cancel_backend(%d)", ann.PgConn().PID()))
	require.NoError(t, err)
	_, err = ann2.Exec(t.Context(), fmt.Sprintf("EXPLAIN SELECT pg_cancel_backend(%d)", ann.PgConn().PID()))
	require.NoError(t, err)
	root := k.connect(asRoot).PgConn().PID()
	for _, sql := range []string{fmt.Sprintf("SELECT _pintail_host('cancel', '%d', '%d')", root, ann.PgConn().PID()),
		"SELECT system.main._pintail_host('activity', '1', '')", "SELECT * FROM memory._pgbase.activity"} {
		_, err = ann2.Exec(t.Context(), sql)
		require.Error(t, err, sql)
	}
	require.Empty(t, running)
	_, err = ann2.Exec(t.Context(), "p")
	require.NoError(t, err)
	require.Error(t, <-running)
}
