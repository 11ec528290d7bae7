package test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

// beforehand is the statement that a hint has for an administrator.
var beforehand = regexp.MustCompile(`((?:CREATE|ALTER) PUBLICATION .*?)\. It goes on by itself`)

// toldToPublish waits for the hint that a dataset's error has, and cuts the statement out.
func toldToPublish(t *testing.T, s *harness.Server, dataset, want string) string {
	t.Helper()
	sql := ""
	harness.Eventually(t, harness.ReplicaTimeout, "it is said what an administrator has to run", func() bool {
		if m := beforehand.FindStringSubmatch(s.Statuses()[dataset].Hint); m != nil && strings.Contains(m[1], want) {
			sql = m[1]
		}
		return sql != ""
	})
	return sql
}

// A role that may read and replicate, and owns nothing: an administrator makes the publication with the statement that is printed. A
// table that comes later waits for that alone.
func TestReplicaLeastPrivilege(t *testing.T) {
	each(t, func(t *testing.T, admin string) {
		u, err := url.Parse(admin)
		require.NoError(t, err)
		role := "pintail_" + strings.TrimPrefix(u.Path, "/")
		harness.PG(t, admin, "CREATE ROLE "+role+" LOGIN REPLICATION PASSWORD 'secret'", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO "+role,
			"CREATE TABLE a (id int PRIMARY KEY, v text)", "INSERT INTO a SELECT g, 'a' || g FROM generate_series(1, 100) g", "CREATE TABLE b (id int PRIMARY KEY)")
		t.Cleanup(func() { harness.PG(t, admin, "DROP OWNED BY "+role, "DROP ROLE "+role) })
		u.User = url.UserPassword(role, "secret")
		p, r := replica(t, u.String(), "")
		r.URL = admin
		s := p.Serve()
		harness.PG(t, admin, toldToPublish(t, s, "shop.a", "CREATE PUBLICATION"))
		s.Becomes(r)
		harness.PG(t, admin, "INSERT INTO b SELECT generate_series(1, 50)", "CREATE TABLE c (id int PRIMARY KEY)", "INSERT INTO c VALUES (1)")
		sql := toldToPublish(t, s, "shop.c", "ALTER PUBLICATION")
		harness.PG(t, admin, "UPDATE a SET v = 'others go on' WHERE id = 7")
		harness.Eventually(t, harness.ReplicaTimeout, "the others go on", func() bool { return s.One("SELECT v FROM shop.a WHERE id = 7") == "others go on" })
		harness.PG(t, admin, sql)
		s.Becomes(r)
		harness.PG(t, admin, "DELETE FROM c", "DROP TABLE b")
		s.Becomes(r)
	})
}

// A standby (16 and later) is followed like a primary; the publication is made on the primary.
func TestReplicaOfAStandby(t *testing.T) {
	t.Parallel()
	pair := harness.StartPair(t, harness.PairOptions{Major: pgtest.Newest})
	primary := pair.At(pair.Primary)
	harness.PG(t, primary, "CREATE TABLE a (id int PRIMARY KEY, v text)", "INSERT INTO a SELECT g, 'a' || g FROM generate_series(1, 1000) g")
	pair.Received()
	pair.Lead(pair.Standby)
	p, r := replica(t, pair.URL(), "")
	r.URL = primary
	s := p.Serve()
	harness.PG(t, primary, toldToPublish(t, s, "shop.a", "CREATE PUBLICATION"))
	logged := time.Now() // a slot on a standby waits until the primary tells what runs there
	harness.Eventually(t, harness.ReplicaTimeout, "the first copy", func() bool {
		if time.Since(logged) > time.Second {
			harness.PG(t, primary, "SELECT pg_log_standby_snapshot()")
			logged = time.Now()
		}
		return s.Statuses()["shop.a"].Rows == 1000
	})
	s.Becomes(r)
	harness.PG(t, primary, "UPDATE a SET v = v || '!' WHERE id % 3 = 0", "DELETE FROM a WHERE id % 7 = 0", "ALTER TABLE a ADD COLUMN n int DEFAULT 5", "INSERT INTO a VALUES (2000, 'new', 6)")
	s.Becomes(r)
	p.OK("verify", "shop")
	require.Equal(t, "0", one(t, primary, "SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical'"), "the primary has a slot")
}
