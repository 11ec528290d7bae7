package pgwire

import (
	"strconv"
	"strings"

	"github.com/pintaildb/pintail/query/pgtype"
)

// command is a statement that the session answers itself, without DuckDB.
type command struct {
	tag string
	// columns of the rows that it gives; nil: none. It is asked when the statement is described and when it runs.
	columns func(c *conn) ([]column, error)
	// run does it. With columns it puts the rows into p. It returns the tag when that depends on what was done.
	run func(c *conn, p *portal) (tag string, err error)
	// ends says that it may run in a failed transaction, because it ends it.
	ends  bool
	copy  *copySpec
	query string // of DECLARE: what the cursor reads, whose parameters are the command's
}

// writes are the first words of what changes something. Whether a role could ever do so is not looked at: the copy is only read here.
var writes = map[string]string{
	"insert": "INSERT", "update": "UPDATE", "delete": "DELETE", "merge": "MERGE", "create": "CREATE", "alter": "ALTER", "drop": "DROP", "truncate": "TRUNCATE TABLE",
	"grant": "GRANT", "revoke": "REVOKE", "comment": "COMMENT", "vacuum": "VACUUM", "analyze": "ANALYZE", "reindex": "REINDEX", "cluster": "CLUSTER",
	"refresh": "REFRESH MATERIALIZED VIEW", "lock": "LOCK TABLE", "import": "IMPORT FOREIGN SCHEMA", "do": "DO", "call": "CALL", "reassign": "REASSIGN OWNED",
	"security": "SECURITY LABEL", "notify": "NOTIFY", "checkpoint": "CHECKPOINT", "load": "LOAD",
}

func readOnly(tag string) *sqlError {
	return newError("25006", "cannot execute "+tag+" in a read-only transaction", "this is a copy that is only read; change the data where it comes from")
}

// writesWithin is the error for a statement that was refused because it writes behind a WITH or an EXPLAIN; nil for others.
func writesWithin(sql string) error {
	first := scan(sql, 0)
	if !first.is("with", "explain") {
		return nil
	}
	for t := scan(sql, first.stop); t.kind != end; t = scan(sql, t.stop) {
		if t.is("insert", "update", "delete", "merge", "create") {
			return readOnly(writes[t.val])
		}
	}
	return nil
}

// commandOf is what the session answers itself; nil for what goes to DuckDB.
func (c *conn) commandOf(sql string) (*command, error) {
	s := newScanner(sql)
	if s.tok.kind != word {
		return nil, nil
	}
	if tag, ok := writes[s.tok.val]; ok {
		verb := writers[s.tok.val]
		if verb == nil || c.s.opts.Ingest == nil || !c.s.opts.Access.Writes(c.who) {
			return nil, readOnly(tag)
		}
		return verb(c, s)
	}
	verb, ok := verbs[s.tok.val]
	if !ok {
		return nil, nil
	}
	s.next()
	return verb(c, s)
}

var verbs map[string]func(c *conn, s *scanner) (*command, error)

func init() { // because PREPARE's verb looks at the verbs again
	verbs = map[string]func(c *conn, s *scanner) (*command, error){
		"begin": beginCommand, "start": startCommand, "commit": commitCommand, "end": commitCommand, "rollback": rollbackCommand, "abort": rollbackCommand,
		"savepoint": savepointCommand, "release": releaseCommand, "set": setCommand, "show": showCommand, "reset": resetCommand, "discard": discardCommand,
		"deallocate": deallocateCommand, "listen": listenCommand, "unlisten": listenCommand, "prepare": prepareCommand, "execute": executeCommand,
		"declare": declareCommand, "fetch": fetchCommand, "move": fetchCommand, "close": closeCommand, "copy": copyCommand,
	}
}

// plain is a command without rows that is checked whole when it is parsed.
func plain(tag string, s *scanner, run func(c *conn) error) (*command, error) {
	if !s.done() {
		return nil, s.unexpected()
	}
	return &command{tag: tag, run: func(c *conn, _ *portal) (string, error) { return tag, run(c) }}, nil
}

func beginCommand(_ *conn, s *scanner) (*command, error) {
	if !s.accept("work") {
		s.accept("transaction")
	}
	return block("BEGIN", s)
}

func startCommand(_ *conn, s *scanner) (*command, error) {
	if !s.accept("transaction") {
		return nil, s.unexpected()
	}
	return block("START TRANSACTION", s)
}

func block(tag string, s *scanner) (*command, error) {
	modes := *s
	return &command{tag: tag, run: func(c *conn, _ *portal) (string, error) {
		at := modes
		return tag, c.beginBlock(&at)
	}}, nil
}

func commitCommand(_ *conn, s *scanner) (*command, error) {
	if s.accept("prepared") {
		return nil, newError("0A000", "two-phase commit is not supported", "")
	}
	return endCommand(s, true)
}

func rollbackCommand(_ *conn, s *scanner) (*command, error) {
	if s.accept("prepared") {
		return nil, newError("0A000", "two-phase commit is not supported", "")
	}
	if !s.accept("work") {
		s.accept("transaction")
	}
	if s.accept("to") {
		s.accept("savepoint")
		return savepointNamed("ROLLBACK", s, func(c *conn, name string) error { return c.backTo(name, false) })
	}
	return endCommand(s, false)
}

func endCommand(s *scanner, commit bool) (*command, error) {
	if !s.accept("work") {
		s.accept("transaction")
	}
	chain := s.accept("and", "chain")
	if !chain {
		s.accept("and", "no", "chain")
	}
	if !s.done() {
		return nil, s.unexpected()
	}
	return &command{tag: "COMMIT", ends: true, run: func(c *conn, _ *portal) (string, error) { return c.endBlock(commit, chain) }}, nil
}

func savepointCommand(_ *conn, s *scanner) (*command, error) {
	return savepointNamed("SAVEPOINT", s, (*conn).savepoint)
}

func releaseCommand(_ *conn, s *scanner) (*command, error) {
	s.accept("savepoint")
	return savepointNamed("RELEASE", s, func(c *conn, name string) error { return c.backTo(name, true) })
}

func savepointNamed(tag string, s *scanner, run func(c *conn, name string) error) (*command, error) {
	name, ok := s.name()
	if !ok {
		return nil, s.unexpected()
	}
	cmd, err := plain(tag, s, func(c *conn) error { return run(c, name) })
	if cmd != nil {
		cmd.ends = tag == "ROLLBACK"
	}
	return cmd, err
}

// listenCommand accepts that a client waits for notifications, of which there are none.
func listenCommand(_ *conn, s *scanner) (*command, error) {
	tag := strings.ToUpper(newScanner(s.sql).tok.val)
	if !s.acceptSymbol("*") {
		if _, ok := s.name(); !ok {
			return nil, s.unexpected()
		}
	}
	return plain(tag, s, func(*conn) error { return nil })
}

func discardCommand(_ *conn, s *scanner) (*command, error) {
	switch {
	case s.accept("all"):
		return plain("DISCARD ALL", s, func(c *conn) error {
			if c.tx.open {
				return newError("25001", "DISCARD ALL cannot run inside a transaction block", "")
			}
			c.endPortals(false)
			for name := range c.statements {
				c.drop(name)
			}
			return c.settings.reset("")
		})
	case s.accept("plans"):
		return plain("DISCARD PLANS", s, func(c *conn) error {
			for _, st := range c.statements {
				st.release()
			}
			return nil
		})
	case s.accept("temp"), s.accept("temporary"):
		return plain("DISCARD TEMP", s, func(*conn) error { return nil })
	case s.accept("sequences"):
		return plain("DISCARD SEQUENCES", s, func(*conn) error { return nil })
	}
	return nil, s.unexpected()
}

func setCommand(c *conn, s *scanner) (*command, error) {
	local := s.accept("local")
	session := !local && s.accept("session")
	set := func(name, value string) (*command, error) {
		return plain("SET", s, func(c *conn) error {
			if local && !c.tx.open {
				c.notice("25P01", "SET LOCAL can only be used in transaction blocks")
				return nil
			}
			return c.settings.set(name, value, local)
		})
	}
	switch {
	case session && s.accept("characteristics", "as", "transaction"):
		modes := *s
		return &command{tag: "SET", run: func(c *conn, _ *portal) (string, error) {
			at := modes
			return "SET", c.modes(&at, "default_")
		}}, nil
	case s.accept("transaction"):
		if s.accept("snapshot") {
			return nil, newError("0A000", "snapshots cannot be imported", "")
		}
		modes := *s
		return &command{tag: "SET", run: func(c *conn, _ *portal) (string, error) {
			at := modes
			return "SET", c.modes(&at, "")
		}}, nil
	case s.accept("constraints"):
		return &command{tag: "SET CONSTRAINTS", run: func(*conn, *portal) (string, error) { return "SET CONSTRAINTS", nil }}, nil
	case s.accept("time", "zone"):
		s.accept("interval")
		value := ""
		switch {
		case s.accept("local"), s.accept("default"):
			value = "UTC"
		case s.acceptSymbol("-"):
			value = "-" + s.next().val
		default:
			s.acceptSymbol("+")
			value = s.next().val
		}
		if s.accept("hour") {
			s.accept("to", "minute")
		}
		return set("timezone", value)
	case s.accept("names"):
		return set("client_encoding", s.next().val)
	case s.accept("schema"):
		return set("search_path", s.next().val)
	case session && s.accept("authorization"), s.accept("role"):
		// There is nobody else that one could become.
		who, ok := s.next(), false
		switch who.kind {
		case word, quoted, text:
			ok = who.is("default", "none") || who.val == c.who.User || who.val == "none"
		}
		if !ok {
			return nil, newError("42501", `permission denied to become "`+clip(who.val)+`"`, "connect as that user")
		}
		return plain("SET", s, func(*conn) error { return nil })
	}
	name, ok := s.settingName()
	if !ok || !s.acceptSymbol("=") && !s.accept("to") {
		return nil, s.unexpected()
	}
	if s.accept("default") {
		return plain("SET", s, func(c *conn) error { return c.settings.reset(name) })
	}
	value, err := s.settingValue(name)
	if err != nil {
		return nil, err
	}
	return set(name, value)
}

// settingName takes a name of one or more parts.
func (s *scanner) settingName() (string, bool) {
	name, ok := s.name()
	for ok && s.acceptSymbol(".") {
		var part string
		part, ok = s.name()
		name += "." + part
	}
	return name, ok
}

// settingValue takes a value or a list of them.
func (s *scanner) settingValue(name string) (string, error) {
	var values []string
	for {
		sign := ""
		if s.acceptSymbol("-") {
			sign = "-"
		} else {
			s.acceptSymbol("+")
		}
		t := s.tok
		switch t.kind {
		case quoted:
			values = append(values, s.sql[t.pos:t.stop])
		case word, text, number:
			values = append(values, sign+t.val)
		default:
			return "", s.unexpected()
		}
		s.next()
		if !s.acceptSymbol(",") {
			break
		}
	}
	if len(values) == 1 && foldName(name) != "search_path" {
		return strings.Trim(values[0], `"`), nil
	}
	return strings.Join(values, ", "), nil
}

func resetCommand(_ *conn, s *scanner) (*command, error) {
	var name string
	switch {
	case s.accept("all"):
	case s.accept("time", "zone"):
		name = "timezone"
	case s.accept("session", "authorization"):
		name = "role"
	default:
		var ok bool
		if name, ok = s.settingName(); !ok {
			return nil, s.unexpected()
		}
	}
	return plain("RESET", s, func(c *conn) error { return c.settings.reset(name) })
}

func textColumns(names ...string) []column {
	out := make([]column, len(names))
	for i, n := range names {
		out[i] = column{name: n, typ: pgtype.ByOID(pgtype.Text)}
	}
	return out
}

func showCommand(c *conn, s *scanner) (*command, error) {
	var name string
	switch {
	case s.accept("all"):
		if s.tok.kind != end && !s.tok.symbol(";") {
			return nil, nil // SHOW ALL TABLES is DuckDB's
		}
		return &command{tag: "SHOW", columns: func(*conn) ([]column, error) { return textColumns("name", "setting", "description"), nil },
			run: func(c *conn, p *portal) (string, error) { p.mem = c.settings.all(); return "", nil }}, nil
	case s.accept("time", "zone"):
		name = "timezone"
	case s.accept("transaction", "isolation", "level"):
		name = "transaction_isolation"
	case s.accept("session", "authorization"):
		name = "session_authorization"
	case s.tok.is("tables", "databases", "schemas"):
		return nil, nil
	default:
		var ok bool
		if name, ok = s.settingName(); !ok {
			return nil, s.unexpected()
		}
	}
	if !s.done() {
		return nil, s.unexpected()
	}
	if _, ok := c.settings.Setting(name); !ok {
		return nil, newError("42704", `unrecognized configuration parameter "`+clip(name)+`"`, "SHOW ALL lists those there are")
	}
	shown := foldName(name)
	if k := known[shown]; k != nil {
		shown = k.name
	}
	return &command{tag: "SHOW", columns: func(*conn) ([]column, error) { return textColumns(shown), nil },
		run: func(c *conn, p *portal) (string, error) {
			v, _ := c.settings.Setting(name)
			p.mem = [][]string{{v}}
			return "", nil
		}}, nil
}

func countTag(tag string, n int64) string { return tag + " " + strconv.FormatInt(n, 10) }
