// Package config reads pintail.yaml: it parses the file, expands ${VAR} in scalar values, decodes strictly,
// brings the runbook's blocks and every dataset form into one shape, and checks the fields against each other.
// Every mistake is reported with file, line, column and key; nothing wrong is ever replaced by a default.
//
// The fields carry their own documentation as tags: docs/configuration.md and docs/pintail.schema.json are made
// from them by Reference and Schema. default is also what the decoder sets where the key is absent; a default that
// depends on other things is told in computed and set in normalise.go. enum, min and max are checked while decoding.
package config

import (
	"errors"
	"io/fs"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// Config is the whole file after defaults, ready to be used. Nothing in it is changed after Parse.
type Config struct {
	Path      string              // the file's name as given to Load or Parse
	Sources   map[string]*Source  // by name; a runbook block NAME_db brings a source of the same name
	DuckDB    DuckDB              //
	Datasets  map[string]*Dataset // by name; disabled runbook blocks are absent
	Server    Server              //
	Endpoints Endpoints
	Users     map[string]*User //
	Roles     map[string]*Role // the built-in role admin is always there
}

// DatasetNames lists the datasets, sorted.
func (c *Config) DatasetNames() []string { return sortedKeys(c.Datasets) }

// Source is a PostgreSQL server to read from.
type Source struct {
	Name       string
	URL        Secret   `yaml:"url" help:"Connection URL or libpq key/value text. TLS, passfile and the PG* variables work as in libpq." example:"postgres://pintail:${SHOP_PASSWORD}@db.internal:5432/shop?sslmode=verify-full"`
	Pool       int      `yaml:"pool" help:"Connections at most. A sync takes one for the snapshot and one for each reader." computed:"8, at least sync_workers + 2" example:"8" min:"1" max:"1000"`
	Bandwidth  Size     `yaml:"bandwidth" help:"Bytes a second that are read from the source at most, by all its connections together: copies, increments and the stream of a replica. 0 is no limit." default:"0" example:"50MB"`
	QuietHours []string `yaml:"quiet_hours" help:"When nothing heavy is begun on the source: from-to, on days if they are given. A window may pass midnight." example:"[\"Mon-Fri 08:00-18:00\", \"22:00-02:00\"]"`
	QuietZone  string   `yaml:"quiet_zone" help:"Time zone of quiet_hours." computed:"the machine's, as of cron lines" example:"Europe/Berlin"`
	Read       string   `yaml:"read" help:"How rows are read. auto takes COPY and falls back to a cursor where COPY is not possible (a pooler, a foreign server)." default:"auto" enum:"auto|copy|cursor"`
	Quiet      QuietHours
	Line       int
}

// DuckDB is the local file and how it is used.
type DuckDB struct {
	Enabled           bool          `yaml:"enabled" help:"With false nothing is synced and nothing is served from the file." default:"true"`
	Path              string        `yaml:"path" help:"The DuckDB file, relative to the working directory; file and folder are made for their user alone (0600, 0700). The part of the name before the first dot is reserved and cannot be a dataset's name." default:"data/pintail.duckdb"`
	MemoryLimit       Size          `yaml:"memory_limit" help:"Memory DuckDB may use before it spills to disk." computed:"half of the machine's memory (of the cgroup's limit, if lower)" example:"4GB"`
	TempLimit         Size          `yaml:"temp_limit" help:"Disk space DuckDB may spill to. 0 is DuckDB's own limit, 90 % of the free space." default:"0" example:"20GB"`
	Threads           int           `yaml:"threads" help:"Threads DuckDB may use." computed:"number of CPUs" example:"4" min:"1" max:"1024"`
	SyncMode          string        `yaml:"sync_mode" help:"startup syncs every dataset when the server starts (incremental where a watermark exists, else full); manual waits for the API." default:"startup" enum:"startup|manual"`
	AutoSyncOnStartup *bool         `yaml:"auto_sync_on_startup" help:"Older form of sync_mode, used only where sync_mode is absent: false means manual." example:"false"`
	SyncWorkers       int           `yaml:"sync_workers" help:"Parallel readers of one sync." computed:"number of CPUs, at least 2" example:"4" min:"1" max:"256"`
	QueryConcurrency  int           `yaml:"query_concurrency" help:"Readers' statements that run at the same time; others wait." default:"8" min:"1" max:"1000"`
	QueryMaxTime      time.Duration `yaml:"query_max_time" help:"Longest that a reader's statement may take, with the taking of its rows; 0 is no limit. A forgotten one keeps the space of dropped tables." default:"1h" example:"10m"`
	MaxSyncRows       int64         `yaml:"max_sync_rows" help:"Rows read per table and run at most; 0 is no cap. A dataset's own max_sync_rows comes first." computed:"0; 2000000 for a NAME_db block" example:"2000000" min:"0"`
	SyncChunkSize     int           `yaml:"sync_chunk_size" help:"Rows per FETCH where a cursor is used instead of COPY." default:"10000" min:"1" max:"10000000"`
}

// Form is the way a dataset says what it holds.
type Form int

// The forms of a dataset.
const (
	FormSplit   Form = iota + 1 // dataset_query and results_query
	FormQueries                 // named queries, or the runbook's single query
	FormTable                   // one table, chosen columns
	FormCDC                     // mode: cdc
)

func (f Form) String() string {
	switch f {
	case FormSplit:
		return "dataset_query and results_query"
	case FormQueries:
		return "queries"
	case FormTable:
		return "table"
	case FormCDC:
		return "mode: cdc"
	}
	return "no form"
}

// Dataset is what is read together, swapped together and named together.
type Dataset struct {
	Name, Source string
	Mode         string // query | cdc
	Form         Form
	Parts        []Part            // the tables to read, in the file's order; none for FormCDC
	Join         string            // left | inner | full: FormSplit only
	View         string            // the view's SQL (FormQueries); empty for FormSplit, whose view is made from the columns
	ViewName     string            // the view in main: m_data, e, or ""
	Refresh      Schedule          // zero: only on demand
	Reconcile    Schedule          // zero: never
	QueryTimeout time.Duration     // 0: the server's own statement_timeout
	Lookback     *time.Duration    // nil: not given
	LateCommits  string            // auto | xmin | lookback
	MaxSyncRows  int64             // rows per table and run; 0: no cap
	OutOfRange   string            // text | stop
	AutoLoad     bool              // synced at start-up (sync_mode: startup)
	Paused       bool              //
	Runbook      bool              // from a NAME_db block
	Columns      map[string]string // renames: the query's or table's name → the name in DuckDB
	CDC          *CDC              // FormCDC only
	Line         int               // of the dataset's name in the file
	key          string            // key path: datasets.m or m_db
}

// Tables names the dataset's tables in schema main, in the order of Parts.
func (d *Dataset) Tables() []string {
	names := make([]string, len(d.Parts))
	for i, p := range d.Parts {
		names[i] = p.Target
	}
	return names
}

// Part is one table of a dataset: what is read and what it becomes. Key, IncrementalColumn, PartitionColumn and
// Types name columns as the query or table gives them; Rename says what they are called in DuckDB.
type Part struct {
	Name              string            // dataset, results, a query's name, or "" (table form)
	Target            string            // the table in schema main
	SQL               string            // query forms: one statement, without a trailing ; or comment
	Table             string            // table form: schema.table as written
	Columns           []string          // table form: chosen columns, in the file's order; nil is all
	Where             string            // table form: an SQL condition, or ""
	Key               []string          // nil: rows have no key
	IncrementalColumn string            //
	PartitionColumn   string            //
	Rename            map[string]string // source column → DuckDB column
	Types             map[string]string // source column → DuckDB type, in place of the usual one
	Line              int               // of the part's query or table in the file
}

// CDC is a dataset that follows the write-ahead log.
type CDC struct {
	Tables       []string                 `yaml:"tables" help:"Tables to follow: schema.table with * and ?, ! takes away. Later patterns win." example:"[public.*, \"!public.audit_*\"]"`
	Into         string                   `yaml:"into" help:"Where a table goes, of {dataset}, {schema} and {table}." default:"{dataset}.{table}"`
	Deletes      string                   `yaml:"deletes" help:"What a DELETE does: hard removes the row, soft marks it, history keeps every version." default:"hard" enum:"hard|soft|history"`
	LSNColumns   bool                     `yaml:"lsn_columns" help:"Adds _pintail_lsn and _pintail_committed_at: the transaction that changed a row last. A table with deletes: history says so anyway." default:"false"`
	Batch        CDCBatch                 `yaml:"batch" help:"When changes are committed: the first limit reached."`
	Memory       Size                     `yaml:"memory" help:"Above it changes are spooled to disk." default:"512MiB"`
	OnLostSlot   string                   `yaml:"on_lost_slot" help:"What happens when the server has dropped the slot." default:"recopy" enum:"recopy|stop"`
	TableOptions map[string]*TableOptions `yaml:"table_options" help:"Settings of single tables, by schema.table."`
}

// Kept says what a table, by schema.table, keeps: of its own options, else of the dataset's.
func (c *CDC) Kept(table string) (deletes string, lsn bool) {
	deletes, lsn = c.Deletes, c.LSNColumns
	if o := c.TableOptions[table]; o != nil {
		if o.Deletes != "" {
			deletes = o.Deletes
		}
		if o.LSNColumns != nil {
			lsn = *o.LSNColumns
		}
	}
	return deletes, lsn
}

// CDCBatch says when changes are committed.
type CDCBatch struct {
	Time  time.Duration `yaml:"time" help:"Longest wait of a change." computed:"as long as the last batch took to be applied, between 50ms and 500ms" example:"200ms"`
	Bytes Size          `yaml:"bytes" help:"Size of a batch." default:"64MiB"`
	Rows  int           `yaml:"rows" help:"Rows of a batch." default:"100000" min:"1"`
}

// TableOptions are the settings of one table of a cdc dataset.
type TableOptions struct {
	Deletes    string   `yaml:"deletes" help:"As the dataset's deletes." enum:"hard|soft|history"`
	LSNColumns *bool    `yaml:"lsn_columns" help:"As the dataset's lsn_columns." example:"true"`
	Columns    []string `yaml:"columns" help:"Columns to keep; absent is all." example:"[id, status, amount, updated_at]"`
}

// Server is the doors and who they are open to.
type Server struct {
	HTTP        Listen        `yaml:"http" help:"The HTTP API."`
	Flight      Listen        `yaml:"flight" help:"Arrow Flight and Flight SQL; closed when absent."`
	PGWire      Listen        `yaml:"pgwire" help:"PostgreSQL's wire protocol; closed when absent."`
	TLS         TLS           `yaml:"tls" help:"Certificates for every door."`
	JWT         JWT           `yaml:"jwt" help:"Bearer tokens signed by an identity provider."`
	Insecure    bool          `yaml:"insecure" help:"Allows listening beyond loopback without users and TLS." default:"false"`
	QueryLog    QueryLog      `yaml:"query_log" help:"A line of JSON for the start and one for the end of each statement of a reader."`
	SlowQuery   time.Duration `yaml:"slow_query" help:"A statement that lasts longer, from its arrival to its last row, is a warning in the log, with where its time went; 0 is none." default:"10s" example:"2s"`
	SlowProfile bool          `yaml:"slow_profile" help:"The line of a slow statement has the operators that took longest. For that every statement is profiled, which costs it about 0.1 ms." default:"false"`
	Tracing     Tracing       `yaml:"tracing" help:"Statements and syncs as traces of OpenTelemetry."`
	MetricsOpen *bool         `yaml:"metrics_open" help:"Whether /metrics needs no credentials." computed:"open when http listens on loopback" example:"true"`
}

// QueryLog is a file that is rotated by its size.
type QueryLog struct {
	Path    string `yaml:"path" help:"The file, readable for its user alone; empty is none. It holds statements, but never parameters." example:"log/queries.jsonl"`
	MaxSize Size   `yaml:"max_size" help:"It is renamed when it is this large, and a new one begun." default:"100MiB"`
	Keep    int    `yaml:"keep" help:"Renamed files that are kept." default:"5" min:"1" max:"1000"`
}

// Tracing says where traces go. The variables of OpenTelemetry (OTEL_…) mean what they mean everywhere; a key that is given here comes first.
type Tracing struct {
	Endpoint   string            `yaml:"endpoint" help:"URL of the collector, which takes OTLP. Without one, and without a variable that names one, nothing is traced." computed:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT" example:"http://127.0.0.1:4318"`
	Protocol   string            `yaml:"protocol" help:"How OTLP is sent." computed:"OTEL_EXPORTER_OTLP_PROTOCOL, else http/protobuf" example:"grpc" enum:"http/protobuf|grpc"`
	Headers    map[string]Secret `yaml:"headers" help:"Headers that the collector wants, such as those that authenticate." example:"{authorization: \"Bearer ${OTLP_TOKEN}\"}"`
	Sample     *float64          `yaml:"sample" help:"Share of the traces begun here that is sent. Of a trace that a client has begun, the client has decided." computed:"OTEL_TRACES_SAMPLER, else 1" example:"0.1" min:"0" max:"1"`
	Statements string            `yaml:"statements" help:"What traces tell of a statement's text: redacted has ? in place of every literal. Parameters are never told." default:"redacted" enum:"redacted|full|none"`
}

// Listen is one door. An empty Listen is closed.
type Listen struct {
	Listen string   `yaml:"listen" help:"host:port. Port 0 takes a free one." computed:"127.0.0.1:8500 for http; closed for the others" example:"127.0.0.1:8500"`
	Hosts  []string `yaml:"hosts" help:"Names by which clients may call the HTTP door, beside loopback, the listen address and the certificate's names; * is any." example:"[pintail.internal]"`
}

// TLS names the files of the certificate. Empty: no TLS.
type TLS struct {
	Cert     string `yaml:"cert" help:"Certificate chain, PEM file." example:"/etc/pintail/tls.crt"`
	Key      string `yaml:"key" help:"Private key, PEM file." example:"/etc/pintail/tls.key"`
	ClientCA string `yaml:"client_ca" help:"Clients must show a certificate signed by this CA, PEM file." example:"/etc/pintail/clients.crt"`
}

// JWT says which signed tokens are believed. Empty: none.
type JWT struct {
	Issuer    string `yaml:"issuer" help:"The iss a token must have." example:"https://accounts.google.com"`
	Audience  string `yaml:"audience" help:"The aud a token must have." example:"https://pintail.example.com"`
	JWKSURL   string `yaml:"jwks_url" help:"Where the signing keys are." example:"https://www.googleapis.com/oauth2/v3/certs"`
	RoleClaim string `yaml:"role_claim" help:"The claim that names the role." default:"role"`
}

// Enabled says whether signed tokens are accepted at all.
func (j JWT) Enabled() bool { return j.JWKSURL != "" }

// User is a name with a password, a token, or both.
type User struct {
	Name     string
	Password Secret            `yaml:"password" help:"For Basic authentication." example:"${GRAFANA_PASSWORD}"`
	Token    Secret            `yaml:"token" help:"Static bearer token." example:"${LOADER_TOKEN}"`
	Role     string            `yaml:"role" help:"A role of this file, or admin." example:"reader"`
	Claims   map[string]string `yaml:"claims" help:"What _pintail.claim('NAME') gives for this user, before what a JWT says." example:"{tenant: acme}"`
	Line     int
}

// Role says what its users may read and write, and how much.
type Role struct {
	Name       string
	Read       []string                     `yaml:"read" help:"What may be read: * or dataset.* or a dataset's table; * and ? match inside a name." example:"[\"*\"]"`
	Write      []string                     `yaml:"write" help:"What may be written, in the same form. Tables of a sync are never writable." example:"[\"events.*\"]"`
	Admin      bool                         `yaml:"admin" help:"May read everything, start and cancel runs, reset watermarks and reload." default:"false"`
	RowFilters map[string]string            `yaml:"row_filters" help:"Conditions in DuckDB's SQL by dataset.* or dataset.table: only rows for which they hold are there for the role." example:"{shop.orders: \"tenant = _pintail.claim('tenant')\"}"`
	Masks      map[string]map[string]string `yaml:"masks" help:"Expressions in DuckDB's SQL by table and column: what the role sees in the column's place." example:"{shop.customers: {email: \"'***'\"}}"`
	Limits     Limits                       `yaml:"limits" help:"Limits of each statement of the role; 0 is none."`
	Line       int
}

// Limits bound the statements of a role; 0 is no limit.
type Limits struct {
	Time        time.Duration `yaml:"time" help:"Longest run of a statement." default:"0" example:"30s"`
	Rows        int64         `yaml:"rows" help:"Most rows of an answer." default:"0" example:"1000000" min:"0"`
	ResultBytes Size          `yaml:"result_bytes" help:"Largest answer." default:"0" example:"1GB"`
	Concurrency int           `yaml:"concurrency" help:"Statements of the role at the same time, and as many puts." default:"0" example:"4" min:"0"`
	PutRows     int64         `yaml:"put_rows" help:"Most rows that a client writes at once." default:"0" example:"10000000" min:"0"`
	PutBytes    Size          `yaml:"put_bytes" help:"Most bytes that a client writes at once." default:"0" example:"1GB"`
}

// AdminRole is the name of the built-in role.
const AdminRole = "admin"

// Env looks a variable up, as os.LookupEnv does.
type Env = func(string) (string, bool)

const fileBytesMax = 1 << 20

// Load reads path and parses it; env nil means the process's own environment. See Parse.
func Load(path string, env func(string) (string, bool)) (*Config, []Warning, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, fault.New(fault.Config, "name the file with --config, or write one with: pintail init postgres://…", "read configuration: no file %s", path)
	case err == nil && info.IsDir():
		return nil, nil, fault.New(fault.Config, "name the file with --config", "read configuration: %s is a folder", path)
	case err == nil && info.Size() > fileBytesMax:
		return nil, nil, fault.New(fault.Config, "is this the right file?", "read configuration: %s has %d bytes, more than %d", path, info.Size(), fileBytesMax)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fault.New(fault.Config, "the file must be readable by the user that runs pintail", "read configuration: %w", err)
	}
	return Parse(path, data, env)
}

// Parse expands, decodes, normalises and checks data, the text of the file called name. The error has code
// fault.Config and holds a Problems with every mistake found, one per line. Warnings come with or without an error.
func Parse(name string, data []byte, env func(string) (string, bool)) (*Config, []Warning, error) {
	if env == nil {
		env = os.LookupEnv
	}
	r := newReport(name)
	c := parse(r, data, env)
	r.sort()
	if len(r.problems) > 0 {
		return nil, r.warnings, fault.New(fault.Config, "every key is described in docs/configuration.md", "%w", r.problems)
	}
	c.Path = name
	return c, r.warnings, nil
}

func parse(r *report, data []byte, env Env) *Config {
	root := parseYAML(r, data)
	if root == nil {
		return nil
	}
	expandTree(r, root, env)
	d := &decoder{report: r}
	raw := d.file(root)
	r.endDecode()
	c := normalise(d, raw, env)
	validate(d, c)
	return c
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func quoteList(names []string) string { return strings.Join(names, ", ") }
