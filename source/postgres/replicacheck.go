package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
)

// ReplicationCheck says what is to be followed, and by what names.
type ReplicationCheck struct {
	Patterns []string
	// Columns are those to keep, by schema.table; nil is all. A table with any option of its own is in it.
	Columns     map[string][]string
	Publication string                 // "" is not known yet: rights on one that is there are not judged
	Slot        string                 // likewise
	OwnSlots    func(slot string) bool // of all replicas of the configuration; nil knows Slot alone
}

// ReplicationReport is what has to be mended before a replica runs.
type ReplicationReport struct {
	Problems []ReplicationFinding // with one of these the replica does not start, or would be wrong
	Warnings []ReplicationFinding // what works, but not as well or as safely as it could
	Tables   []ReplicationTable   // by name
}

// ReplicationFinding is one of them.
type ReplicationFinding struct {
	Code    string // what was looked at, such as wal_level; stays the same between versions
	Table   string // schema.table; "" is the server, the role or the configuration
	Message string
	Fix     string // the statement or the setting
}

// ReplicationTable is a table that the patterns mean.
type ReplicationTable struct {
	Name          string // schema.table
	Schema, Table string
	Kind          string // table | partitioned
	Identity      string // default | index | full | nothing
	Key           []string
	Rows          int64 // the planner's estimate
	Columns       []CheckColumn
	Reason, Fix   string // why it cannot be followed; "" when it can
}

// slotPrefix begins the names of all slots of ours.
const slotPrefix = "pintail_"

// replicationCheck gathers the report.
type replicationCheck struct {
	*Source
	ReplicationCheck
	report ReplicationReport
	server replicationServer
}

// replicationServer is what the server says of itself and the role.
type replicationServer struct {
	version                   int
	standby                   bool
	user, database            string
	super, replication        bool // rights of the role
	create                    bool // of publications in the database
	managed                   bool // a role of a hosting service gives the right to replicate
	slots, senders            int  // in use
	settings                  map[string]string
	ownKind, ownDB, ownPlugin string // of Slot, when there is one
	ownActive                 bool
}

func (c *replicationCheck) problem(code, fix, format string, args ...any) {
	c.report.Problems = append(c.report.Problems, ReplicationFinding{Code: code, Message: fmt.Sprintf(format, args...), Fix: fix})
}

func (c *replicationCheck) warn(code, fix, format string, args ...any) {
	c.report.Warnings = append(c.report.Warnings, ReplicationFinding{Code: code, Message: fmt.Sprintf(format, args...), Fix: fix})
}

// CheckReplication looks at everything on the source that a replica of these tables needs, and changes nothing there. An
// error is a source that cannot be reached.
func (s *Source) CheckReplication(ctx context.Context, o ReplicationCheck) (ReplicationReport, error) {
	c := &replicationCheck{Source: s, ReplicationCheck: o}
	if c.OwnSlots == nil {
		c.OwnSlots = func(slot string) bool { return slot == o.Slot }
	}
	err := c.askServer(ctx)
	if err == nil {
		c.checkSettings()
		c.checkUse()
		c.checkStandby()
		err = c.checkConnections(ctx)
	}
	if err == nil {
		err = c.checkSlots(ctx)
	}
	if err == nil {
		err = c.checkTables(ctx)
	}
	return c.report, c.unreached(ctx, err)
}

// unreached is s.failed with the line that pg_hba.conf lacks.
func (c *replicationCheck) unreached(ctx context.Context, err error) error {
	if line := c.hbaLine(err); line != "" {
		var pg *pgconn.PgError
		errors.As(err, &pg)
		return fault.New(fault.SourcePrivilege, "add to pg_hba.conf of the server, before lines that refuse, and reload it: "+line,
			"source %s: checking replication: %w", c.cfg.Name, &serverError{PgError: pg})
	}
	return c.failed(ctx, err, "checking replication")
}

const (
	replicationServerQuery = `SELECT current_setting('server_version_num'), pg_is_in_recovery(), session_user, current_database(), r.rolsuper, r.rolreplication,
			has_database_privilege(current_database(), 'CREATE'),
			EXISTS (SELECT FROM pg_roles g WHERE g.rolname IN ('rds_replication', 'cloudsqlreplica') AND pg_has_role(r.oid, g.oid, 'MEMBER')),
			(SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_stat_replication), EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication')
		FROM pg_roles r WHERE r.rolname = session_user`
	replicationSettingsQuery = `SELECT name, setting FROM pg_settings WHERE name IN ('wal_level', 'max_replication_slots', 'max_wal_senders',
			'max_slot_wal_keep_size', 'idle_replication_slot_timeout', 'wal_sender_timeout', 'hot_standby_feedback', 'primary_slot_name')
		UNION ALL SELECT name, current_setting(name, true) FROM unnest('{rds.logical_replication,cloudsql.logical_decoding,alloydb.logical_decoding,azure.extensions}'::text[]) name
		WHERE current_setting(name, true) <> ''`
	ownSlotQuery = `SELECT slot_type, coalesce(database, ''), coalesce(plugin, ''), active FROM pg_replication_slots WHERE slot_name = $1`
)

func (c *replicationCheck) askServer(ctx context.Context) error {
	rs, err := c.do(ctx, stmt(replicationServerQuery), stmt(replicationSettingsQuery), stmt(ownSlotQuery, c.Slot))
	if err != nil {
		return err
	}
	r, v := &rs[0], &c.server
	if len(r.rows) != 1 {
		return errProtocol
	}
	v.version, _ = strconv.Atoi(r.text(0, 0))
	v.standby, v.user, v.database = r.bool(0, 1), r.text(0, 2), r.text(0, 3)
	v.super, v.replication, v.create = r.bool(0, 4), r.bool(0, 5) || r.bool(0, 7), r.bool(0, 6)
	v.slots, _ = strconv.Atoi(r.text(0, 8))
	v.senders, _ = strconv.Atoi(r.text(0, 9))
	v.managed = r.bool(0, 10)
	v.settings = map[string]string{}
	for i := range rs[1].rows {
		v.settings[rs[1].text(i, 0)] = rs[1].text(i, 1)
	}
	if own := &rs[2]; len(own.rows) > 0 {
		v.ownKind, v.ownDB, v.ownPlugin, v.ownActive = own.text(0, 0), own.text(0, 1), own.text(0, 2), own.bool(0, 3)
	}
	return nil
}

// number is a setting in its own unit; ok is false where the server does not have it.
func (v *replicationServer) number(name string) (n int, ok bool) {
	s, ok := v.settings[name]
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

const (
	// keepSmall is below what an hour of a modest load writes, so that a slot would be lost during an upgrade of Pintail.
	keepSmall = 1024 // MB
	// senderTimeoutSmall is a few times the pause between two words of ours, and a stall of the network on top.
	senderTimeoutSmall = 10 * time.Second
)

// checkSettings judges the server's settings by themselves.
func (c *replicationCheck) checkSettings() {
	v := &c.server
	if v.version < 140000 {
		c.problem("server_version", "upgrade the server to 14 or later, or use a query form", "PostgreSQL %d is too old: replicas need 14 or later", v.version/10000)
	}
	if level := v.settings["wal_level"]; level != "logical" {
		fix := "ALTER SYSTEM SET wal_level = 'logical'; then restart the server"
		has := func(name string) bool { _, ok := v.settings[name]; return ok }
		switch {
		case has("rds.logical_replication"):
			fix = "set rds.logical_replication = 1 in the parameter group, then restart the server"
		case has("cloudsql.logical_decoding"):
			fix = "set the flag cloudsql.logical_decoding = on; the server restarts by itself"
		case has("alloydb.logical_decoding"):
			fix = "set the flag alloydb.logical_decoding = on; the server restarts by itself"
		case has("azure.extensions"):
			fix = "set the server parameter wal_level = logical, then restart the server"
		}
		c.problem("wal_level", fix, "wal_level is %s: the write-ahead log does not hold what a replica needs", level)
	}
	if keep, ok := v.number("max_slot_wal_keep_size"); ok && keep < 0 {
		c.warn("max_slot_wal_keep_size", "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf(); with a size that the disk has to spare",
			"max_slot_wal_keep_size is without bound: while the replica is stopped, its slot keeps the log until the source's disk is full")
	} else if ok && keep < keepSmall {
		c.warn("max_slot_wal_keep_size", "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf(); with a size that the disk has to spare",
			"max_slot_wal_keep_size is %d MB: after a short stop the slot is lost, and all tables are copied anew", keep)
	}
	if idle, ok := v.number("idle_replication_slot_timeout"); ok && idle > 0 {
		c.warn("idle_replication_slot_timeout", "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf(); max_slot_wal_keep_size protects the disk",
			"idle_replication_slot_timeout is %s: when the replica is stopped for longer, its slot is lost, and all tables are copied anew", time.Duration(idle)*time.Second)
	}
	if timeout, ok := v.number("wal_sender_timeout"); ok && time.Duration(timeout)*time.Millisecond < senderTimeoutSmall {
		said := fmt.Sprintf("wal_sender_timeout is %d ms: a short stall ends the stream", timeout)
		if timeout == 0 {
			said = "wal_sender_timeout is off: a connection that has died without a word keeps the slot in use, and the replica out"
		}
		c.warn("wal_sender_timeout", "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf()", "%s", said)
	}
}

// checkUse asks whether there is room for one more slot and stream, and for a second of each while a table is copied anew.
func (c *replicationCheck) checkUse() {
	v := &c.server
	if v.ownKind != "" && (v.ownKind != "logical" || v.ownDB != v.database || v.ownPlugin != "pgoutput") {
		c.problem("slot_name", "give the dataset another name, or drop the slot: SELECT pg_drop_replication_slot("+literal(c.Slot)+")",
			"the server has a slot %s that was not made for this: %s", c.Slot, strings.TrimSpace(v.ownKind+" "+v.ownPlugin+" of database "+v.ownDB))
	}
	for _, u := range []struct {
		setting, what string
		used          int
		have          bool
	}{
		{"max_replication_slots", "replication slots", v.slots, v.ownKind != ""},
		{"max_wal_senders", "connections for replication", v.senders, v.ownActive},
	} {
		most, ok := v.number(u.setting)
		if !ok {
			continue
		}
		need := 1
		if u.have {
			need = 0
		}
		fix := fmt.Sprintf("ALTER SYSTEM SET %s = %d; then restart the server", u.setting, max(10, u.used+5))
		if v.standby && u.setting == "max_wal_senders" {
			fix += ", and the standby after its primary"
		}
		switch free := most - u.used; {
		case free < need:
			c.problem(u.setting, fix, "all %d %s of %s are in use, and the replica needs one more", most, u.what, u.setting)
		case free < need+1:
			c.warn(u.setting, fix, "%d of %d %s of %s are in use: copying a table anew needs one more for a while", u.used, most, u.what, u.setting)
		}
	}
}

func (c *replicationCheck) checkStandby() {
	v := &c.server
	switch {
	case !v.standby:
		return
	case v.version < 160000:
		c.problem("standby", "name the primary in the source's url", "the server is a standby: PostgreSQL %d makes logical slots on a primary only, a standby can from 16 on", v.version/10000)
		return
	}
	c.warn("standby", "on the primary, when making the slot waits: SELECT pg_log_standby_snapshot()",
		"the server is a standby: its slots go on after a promotion only from what it has received, and an idle primary makes the replica wait for it")
	if v.settings["hot_standby_feedback"] != "on" {
		c.warn("hot_standby_feedback", "on the standby: ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf()",
			"hot_standby_feedback is off: the primary removes rows of the catalog that the slot still needs, and the slot is lost")
	} else if v.settings["primary_slot_name"] == "" {
		c.warn("primary_slot_name", "on the primary: SELECT pg_create_physical_replication_slot('standby'); on the standby: ALTER SYSTEM SET primary_slot_name = 'standby'; SELECT pg_reload_conf()",
			"the standby has no slot on its primary: its feedback is forgotten whenever they are disconnected, and the replica's slot is lost then")
	}
}

// reach is where a connection has ended.
type reach struct {
	pid, started string
	standby      bool
}

const reachQuery = `SELECT pg_backend_pid(), pg_postmaster_start_time(), pg_is_in_recovery()`

func reachOf(row [][]byte) reach {
	return reach{pid: string(row[0]), started: string(row[1]), standby: string(row[2]) == "t"}
}

// probes is how many sessions are opened to see whether they end at one server. Of two servers taken by chance, five
// connections, the one for replication among them, meet one only in 1 of 16 cases.
const probes = 4

// probeTimeout ends the wait for one answer; a test shortens it.
var probeTimeout = 10 * time.Second

// checkConnections opens some connections at once, beyond the pool for a moment, and one for replication.
func (c *replicationCheck) checkConnections(ctx context.Context) error {
	if hosts := c.hosts(); len(hosts) > 1 && c.config.ValidateConnect == nil {
		c.warn("hosts", "name one host, or add target_session_attrs=primary to the url",
			"the url names several hosts (%s): another than the first may be a standby, and a slot is on one server only", strings.Join(hosts, ", "))
	}
	var open []*session
	defer func() {
		for _, p := range open {
			p.end(ctx)
		}
	}()
	var alone, within []reach
	var err error
	for len(open) < probes && err == nil {
		var p *session
		if p, err = c.dialProbe(ctx); err != nil {
			break
		}
		open = append(open, p)
		var r reach
		if r, err = askReach(ctx, p, false); err == nil {
			alone = append(alone, r)
		}
	}
	for i := 0; i < len(open) && err == nil; i++ {
		// With these transactions left open, a pooler needs another server connection for each.
		var r reach
		if r, err = askReach(ctx, open[i], true); err == nil {
			within = append(within, r)
		}
	}
	if err != nil {
		if ctx.Err() != nil || len(alone) == 0 || sqlstate(err) != "53300" && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		most := len(alone)
		if most == probes {
			most = len(within)
		}
		c.problem("connections", fmt.Sprintf("allow more: ALTER ROLE %s CONNECTION LIMIT -1, or a greater max_connections; a copy takes up to %d (pool of the source), at a pooler as at the server", c.role(), cap(c.slots)),
			"no more than %d connections can be used at once: %s", most, c.text(err))
	}
	return c.checkReplicationConnection(ctx, append(alone, within...), c.checkPooler(open, alone, within))
}

// dialProbe does not wait for long: a pooler that is used up lets its clients wait.
func (c *replicationCheck) dialProbe(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return c.dial(ctx)
}

func askReach(ctx context.Context, p *session, begin bool) (reach, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	group := []statement{stmt(reachQuery)}
	if begin {
		group = []statement{stmt("BEGIN READ ONLY"), group[0]}
	}
	rs, err := p.run(ctx, group)
	if err != nil {
		return reach{}, err
	}
	return reachOf(rs[len(rs)-1].rows[0]), nil
}

// checkPooler compares what the sessions say, each by a statement alone, and then within its transaction.
func (c *replicationCheck) checkPooler(open []*session, alone, within []reach) (pooled bool) {
	moved, relayed := false, false
	for i, r := range alone {
		moved = moved || slices.Index(alone, r) != i || i < len(within) && within[i] != r
		relayed = relayed || r.pid != strconv.FormatUint(uint64(open[i].conn.PID()), 10)
	}
	switch {
	case moved:
		c.warn("pooler", "name the server itself in the url, not the pooler",
			"a pooler moves statements between server connections (another backend answers than before): a copy may fail where a session is needed")
	case relayed:
		c.warn("pooler", "name the server itself in the url",
			"something between, such as a pooler, answers in the server's place: it may end idle sessions and with them a copy, or refuse replication")
	}
	return moved || relayed
}

// checkReplicationConnection proves that the server streams to this role, from the place that the other connections reach.
func (c *replicationCheck) checkReplicationConnection(ctx context.Context, seen []reach, pooled bool) error {
	conn, err := c.dialReplication(ctx)
	var rows [][][]byte
	if err == nil {
		defer hangUp(ctx, conn)
		if _, err = identify(ctx, conn); err == nil {
			rows, err = replicate(ctx, conn, reachQuery)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch {
	case err != nil:
		c.refused(err, pooled)
	case len(rows) == 1 && len(rows[0]) == 3:
		seen = append(seen, reachOf(rows[0]))
	}
	servers := map[string]bool{}
	for _, r := range seen {
		servers[r.started] = r.standby
	}
	if len(servers) > 1 {
		standbys := 0
		for _, s := range servers {
			if s {
				standbys++
			}
		}
		c.problem("load_balanced", "name one server in the url: the primary",
			"connections to the same address end at %d servers (%d of them standbys): a slot and its snapshot are on one", len(servers), standbys)
	}
	return nil
}

// refused says why there is no connection for replication.
func (c *replicationCheck) refused(err error, pooled bool) {
	v := &c.server
	grant := "ALTER ROLE " + c.role() + " REPLICATION"
	if v.managed {
		grant = "GRANT rds_replication TO " + c.role()
	}
	state := sqlstate(err)
	lacks := !v.super && !v.replication
	if state == "42501" || lacks {
		c.problem("replication_role", grant, "the role %s may not replicate", v.user)
		if state == "42501" {
			return
		}
	}
	line := c.hbaLine(err)
	switch {
	case line != "":
		c.problem("pg_hba", "add to pg_hba.conf of the server, before lines that refuse, and reload it: "+line, "the server refuses a connection for replication: %s", serverText(err))
	case state == "53300":
		if !slices.ContainsFunc(c.report.Problems, func(f ReplicationFinding) bool { return f.Code == "max_wal_senders" }) {
			c.problem("max_wal_senders", fmt.Sprintf("ALTER SYSTEM SET max_wal_senders = %d; then restart the server", max(10, v.senders+5)), "there is no connection left for replication: %s", serverText(err))
		}
	case pooled || state == "08P01" || state == "42601" || state == "0A000":
		c.problem("replication_connection", "name the server itself in the url, not the pooler", "a connection for replication does not get through, as with a pooler in between: %s", c.text(err))
	default:
		c.problem("replication_connection", "see the server's log, and name the server itself in the url", "a connection for replication fails: %s", c.text(err))
	}
}

// hosts are the different servers of the url; the same one comes twice where TLS is tried first.
func (c *replicationCheck) hosts() []string {
	name := func(host string, port uint16) string { return host + ":" + strconv.Itoa(int(port)) }
	list := []string{name(c.config.Host, c.config.Port)}
	for _, f := range c.config.Fallbacks {
		if n := name(f.Host, f.Port); !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list
}

var hbaHost = regexp.MustCompile(`host "([^"]+)"`)

// hbaLine is what lets the role in where the server's rules refuse it; "" when that is not what err is.
func (c *replicationCheck) hbaLine(err error) string {
	if sqlstate(err) != "28000" || !strings.Contains(err.Error(), "pg_hba.conf") {
		return ""
	}
	kind, address := "host", "ADDRESS"
	if m := hbaHost.FindStringSubmatch(err.Error()); m != nil {
		address = m[1] + "/32"
		if strings.Contains(m[1], ":") {
			address = m[1] + "/128"
		} else if m[1] == "[local]" {
			return fmt.Sprintf("local %s %s scram-sha-256", plainName(c.config.Database), plainName(c.config.User))
		}
	}
	if c.config.TLSConfig != nil {
		kind = "hostssl"
	}
	// A connection for logical replication is matched by its database; the word replication means physical ones only.
	return fmt.Sprintf("%s %s %s %s scram-sha-256", kind, plainName(c.config.Database), plainName(c.config.User), address)
}

// role is the role's name for statements.
func (c *replicationCheck) role() string { return plainName(c.server.user) }

// text is an error for a finding, without the url's password.
func (c *replicationCheck) text(err error) string {
	if sqlstate(err) != "" {
		return serverText(err)
	}
	return c.redact(err).Error()
}

// serverText is the server's own words, without those of the connection around it.
func serverText(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return (&serverError{PgError: pg}).Error()
	}
	return err.Error()
}

// checkSlots looks at slots of ours that nobody follows.
func (c *replicationCheck) checkSlots(ctx context.Context) error {
	slots, err := c.Slots(ctx, slotPrefix)
	if err != nil {
		return err
	}
	for i := range slots {
		s := &slots[i]
		if s.Active {
			continue
		}
		switch own, lost := c.OwnSlots(s.Name), s.WALStatus == "lost"; {
		case own && lost:
			c.warn("slot_lost", "nothing, unless on_lost_slot is stop", "the server has given up slot %s: all tables are copied anew when the replica starts", s.Name)
		case own:
			c.warn("slot_idle", "start pintail serve; if its copy is gone: "+dropSlot(s.Name), "nobody follows slot %s now: it keeps %s of log on the source", s.Name, kept(s))
		case lost:
			c.warn("slot_left", dropSlot(s.Name), "no dataset of this configuration follows slot %s, which the server has given up: it still counts for max_replication_slots", s.Name)
		default:
			c.warn("slot_left", dropSlot(s.Name), "no dataset of this configuration follows slot %s: it keeps %s of log on the source, and more with every change", s.Name, kept(s))
		}
	}
	return nil
}

func dropSlot(name string) string {
	return "SELECT pg_drop_replication_slot(" + literal(name) + "), or: pintail slots drop " + name
}

// kept is how much log a slot holds back.
func kept(s *source.SlotState) string {
	n := max(0, int64(s.Current)-int64(s.Restart))
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d kB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
