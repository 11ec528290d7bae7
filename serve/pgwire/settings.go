package pgwire

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/access"
)

// ServerVersion is the PostgreSQL that clients are told they talk to: it decides what they ask of the catalog.
const (
	ServerVersion    = "15.18"
	serverVersionNum = "150018"
)

// setting is a parameter of the session.
type setting struct {
	name     string // as SHOW writes it
	value    string // the default
	check    func(value string) (string, bool)
	reported bool // clients are told its value
	fixed    bool
	what     string
}

// settings are those of a session. values are never changed in place, so that a transaction can keep those of its beginning.
type settings struct {
	values   map[string]string // folded; those that differ from the default
	session  map[string]string // those that a COMMIT leaves: without SET LOCAL
	defaults map[string]string // RESET's: from the startup message
	fixed    map[string]string
	told     map[string]string // what the client knows
	zoned    string            // the time zone that the core's session has
}

var known = func() map[string]*setting {
	m := map[string]*setting{}
	add := func(s setting) { m[strings.ToLower(s.name)] = &s }
	fixed := func(name, value, what string, reported bool) {
		add(setting{name: name, value: value, fixed: true, reported: reported, what: what})
	}
	fixed("server_version", ServerVersion, "The PostgreSQL whose clients are served.", true)
	fixed("server_version_num", serverVersionNum, "The same as a number.", false)
	fixed("server_encoding", "UTF8", "The encoding of the data.", true)
	fixed("integer_datetimes", "on", "Dates and times are whole numbers.", true)
	fixed("is_superuser", "off", "Whether the user is an administrator.", true)
	fixed("session_authorization", "", "The user of the session.", true)
	fixed("in_hot_standby", "off", "Whether this is a standby.", true)
	fixed("max_identifier_length", "63", "Bytes of a name.", false)
	fixed("max_index_keys", "32", "Columns of an index.", false)
	fixed("block_size", "8192", "Bytes of a page.", false)
	fixed("lc_collate", "C", "The order of texts.", false)
	fixed("lc_ctype", "C", "The classes of characters.", false)
	fixed("max_connections", "200", "Connections at once.", false)
	fixed("wal_level", "replica", "What the log holds.", false)
	fixed("data_checksums", "on", "Whether pages are checked.", false)
	fixed("password_encryption", "scram-sha-256", "How passwords are kept.", false)

	add(setting{name: "application_name", check: shortText, reported: true, what: "Of the client."})
	add(setting{name: "client_encoding", value: "UTF8", check: encoding, reported: true, what: "Always UTF8."})
	add(setting{name: "DateStyle", value: "ISO, MDY", check: dateStyle, reported: true, what: "How dates are written: always ISO."})
	add(setting{name: "IntervalStyle", value: "postgres", check: only("postgres"), reported: true, what: "How intervals are written."})
	add(setting{name: "TimeZone", value: "UTC", check: timeZone, reported: true, what: "Of times with time zone."})
	add(setting{name: "standard_conforming_strings", value: "on", check: onlyOn, reported: true, what: "Backslashes in strings are plain."})
	add(setting{name: "default_transaction_read_only", value: "on", check: boolean, reported: true, what: "Whether the role writes nothing, whatever is set here."})
	add(setting{name: "search_path", value: `"$user", public`, check: shortText, what: "Where names without schema are looked up."})
	add(setting{name: "bytea_output", value: "hex", check: only("hex"), what: "How bytea is written."})
	add(setting{name: "extra_float_digits", value: "1", check: between(-15, 3), what: "Floats are always written so that they can be read back."})
	add(setting{name: "statement_timeout", value: "0", check: milliseconds, what: "How long a statement may run."})
	for _, name := range []string{"lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"} {
		add(setting{name: name, value: "0", check: milliseconds, what: "Taken and not used."})
	}
	add(setting{name: "transaction_isolation", value: "read committed", check: isolation, what: "Each statement sees what is committed when it begins."})
	add(setting{name: "default_transaction_isolation", value: "read committed", check: isolation, what: "The same for transactions to come."})
	for name, value := range map[string]string{"transaction_read_only": "on", "transaction_deferrable": "off", "default_transaction_deferrable": "off",
		"row_security": "on", "check_function_bodies": "on", "synchronize_seqscans": "on", "jit": "off", "geqo": "on", "quote_all_identifiers": "off",
		"escape_string_warning": "on", "backslash_quote": "safe_encoding", "array_nulls": "on", "enable_seqscan": "on", "enable_indexscan": "on",
		"enable_bitmapscan": "on", "enable_hashjoin": "on", "enable_mergejoin": "on", "enable_nestloop": "on", "enable_sort": "on", "enable_hashagg": "on",
		"enable_material": "on", "enable_partitionwise_join": "off", "enable_partitionwise_aggregate": "off"} {
		check := boolean
		if name == "backslash_quote" {
			check = shortText
		}
		add(setting{name: name, value: value, check: check, what: "Taken and not used."})
	}
	for name, value := range map[string]string{"client_min_messages": "notice", "log_statement": "none", "log_min_duration_statement": "-1", "synchronous_commit": "on",
		"xmloption": "content", "default_tablespace": "", "default_table_access_method": "heap", "work_mem": "4MB", "maintenance_work_mem": "64MB", "temp_buffers": "8MB",
		"effective_cache_size": "4GB", "random_page_cost": "4", "seq_page_cost": "1", "cursor_tuple_fraction": "0.1", "from_collapse_limit": "8", "join_collapse_limit": "8",
		"max_parallel_workers_per_gather": "2", "plan_cache_mode": "auto", "role": "none", "lc_messages": "C", "lc_monetary": "C", "lc_numeric": "C", "lc_time": "C",
		"constraint_exclusion": "partition", "timezone_abbreviations": "Default", "log_min_messages": "warning", "force_parallel_mode": "off", "gin_fuzzy_search_limit": "0",
		"tcp_keepalives_idle": "0", "tcp_user_timeout": "0", "default_text_search_config": "pg_catalog.simple", "session_replication_role": "origin"} {
		add(setting{name: name, value: value, check: shortText, what: "Taken and not used."})
	}
	return m
}()

func newSettings(who access.Principal, database string) *settings {
	s := &settings{values: map[string]string{}, session: map[string]string{}, defaults: map[string]string{}, told: map[string]string{}}
	s.fixed = map[string]string{"session_authorization": who.User, "is_superuser": onOff(who.Admin)}
	return s
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// fold is the key of a name.
func foldName(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// get is a value by its folded name.
func (s *settings) get(name string) string {
	v, _ := s.find(name)
	return v
}

func (s *settings) find(name string) (string, bool) {
	if v, ok := s.values[name]; ok {
		return v, true
	}
	if v, ok := s.fixed[name]; ok {
		return v, true
	}
	if v, ok := s.defaults[name]; ok {
		return v, true
	}
	if k := known[name]; k != nil {
		return k.value, true
	}
	return "", false
}

// Setting implements pgtype.Session.
func (s *settings) Setting(name string) (string, bool) { return s.find(foldName(name)) }

// start takes a parameter of the startup message.
func (s *settings) start(name, value string) error {
	key := foldName(name)
	k := known[key]
	if k == nil || k.fixed {
		return nil
	}
	v, ok := k.check(value)
	if !ok {
		if key == "timezone" || key == "client_encoding" {
			return invalidValue(k.name, value)
		}
		return nil // drivers send some that only they need
	}
	s.defaults[key] = v
	return nil
}

func (s *settings) commitStart() { s.zoned = s.get("timezone") }

func invalidValue(name, value string) *sqlError {
	return newError("22023", `invalid value for parameter "`+name+`": "`+clip(value)+`"`, "")
}

// set is SET; local ends with the transaction.
func (s *settings) set(name, value string, local bool) error {
	key := foldName(name)
	k := known[key]
	switch {
	case k == nil && strings.Contains(key, "."): // of an extension that is not here
	case k == nil:
		return newError("42704", `unrecognized configuration parameter "`+clip(name)+`"`, "SHOW ALL lists those there are")
	case k.fixed:
		return newError("55P02", `parameter "`+k.name+`" cannot be changed`, "")
	default:
		v, ok := k.check(value)
		if !ok {
			return invalidValue(k.name, value)
		}
		value = v
	}
	if len(s.values) > 200 {
		return newError("54000", "there are too many settings", "RESET ALL")
	}
	s.put(key, value)
	if !local {
		s.session = with(s.session, key, value)
	}
	return nil
}

func (s *settings) put(key, value string) { s.values = with(s.values, key, value) }

func with(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	m[key] = value
	return m
}

// reset is RESET, of all with "".
func (s *settings) reset(name string) error {
	key := foldName(name)
	if key == "" || key == "all" {
		s.values, s.session = map[string]string{}, map[string]string{}
		return nil
	}
	if _, ok := s.find(key); !ok {
		return newError("42704", `unrecognized configuration parameter "`+clip(name)+`"`, "")
	}
	s.values, s.session = maps.Clone(s.values), maps.Clone(s.session)
	delete(s.values, key)
	delete(s.session, key)
	return nil
}

// keep ends a transaction: with the values from before it, or with nil those that SET without LOCAL has left.
func (s *settings) keep(before map[string]string) {
	if before != nil {
		s.session = before
	}
	s.values = s.session
}

func (s *settings) statementTimeout() time.Duration {
	d, _ := parseMilliseconds(s.get("statement_timeout"))
	return d
}

// location is the session's time zone.
func (s *settings) location() *time.Location {
	loc, err := time.LoadLocation(s.get("timezone"))
	if err != nil {
		return time.UTC
	}
	return loc
}

// reportAll tells all that clients want to know.
func (s *settings) reportAll(c *conn) {
	for key := range known {
		if known[key].reported {
			s.told[key] = "\x00"
		}
	}
	s.report(c)
}

// report tells what has changed since.
func (s *settings) report(c *conn) {
	for _, key := range slices.Sorted(maps.Keys(s.told)) {
		if v := s.get(key); v != s.told[key] {
			s.told[key] = v
			c.send(&pgproto3.ParameterStatus{Name: known[key].name, Value: v})
		}
	}
}

// zoneChanged says whether the core's session has another time zone than this one, once.
func (s *settings) zoneChanged() bool {
	now := s.get("timezone")
	changed := now != s.zoned
	s.zoned = now
	return changed
}

// all are the rows of SHOW ALL.
func (s *settings) all() [][]string {
	var rows [][]string
	for _, key := range slices.Sorted(maps.Keys(known)) {
		rows = append(rows, []string{known[key].name, s.get(key), known[key].what})
	}
	return rows
}
