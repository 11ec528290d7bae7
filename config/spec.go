package config

import "time"

// fileSpec is the file as written.
type fileSpec struct {
	Sources   map[string]*Source      `yaml:"sources" help:"PostgreSQL servers to read from, by name."`
	DuckDB    DuckDB                  `yaml:"duckdb" help:"The local file. Every change here needs a restart."`
	Datasets  map[string]*datasetSpec `yaml:"datasets" help:"What is copied, by name. A dataset has exactly one form: dataset_query and results_query, queries, table, or mode: cdc."`
	Server    Server                  `yaml:"server" help:"Doors, certificates and tokens. Every change here needs a restart."`
	Endpoints Endpoints               `yaml:"endpoints" help:"SQL files that answer GET requests. Every change here needs a restart; the files themselves do not."`
	Users     map[string]*User        `yaml:"users" help:"Who may come in, by name. Without users, clients on loopback are admin."`
	Roles     map[string]*Role        `yaml:"roles" help:"What users may do, by name. The role admin is built in."`

	blocks     map[string]*blockSpec // NAME_db → block
	blockNames []string              // in the file's order
}

// commonSpec is what a dataset and a NAME_db block share.
type commonSpec struct {
	DatasetQuery   string            `yaml:"dataset_query" help:"SQL of the table NAME_dataset. It must give dataset_id." example:"SELECT trace_id AS dataset_id, created_at, prompt AS query FROM llm_traces"`
	ResultsQuery   string            `yaml:"results_query" help:"SQL of the table NAME_results. It must give dataset_id. The view NAME_data joins the two." example:"SELECT trace_id AS dataset_id, metric_name, metric_value, created_at FROM llm_metric_results"`
	Key            keySpec           `yaml:"key" help:"Columns that are unique and not NULL. Needed to follow updated and deleted rows. A list for a table; {dataset: [..], results: [..]} for split queries; each of queries has its own." example:"[id]"`
	Join           string            `yaml:"join" help:"Split queries: left keeps every dataset row, inner only those with results, full also results without a dataset row." computed:"left; inner in a NAME_db block" example:"left" enum:"left|inner|full"`
	Columns        columnsSpec       `yaml:"columns" help:"A list chooses columns of a table. A mapping renames: source name to name in DuckDB; for a table it also chooses." example:"[id, partner_id, status, created_at, updated_at]"`
	Types          map[string]string `yaml:"types" help:"DuckDB types in place of the usual ones, by source column." example:"{amount: \"DECIMAL(38,9)\"}"`
	Incremental    string            `yaml:"incremental_column" help:"Column that grows with every insert (and update). With it a sync reads only what is new." example:"updated_at"`
	Partition      string            `yaml:"partition_column" help:"Column to split a query by for parallel readers: integer, date, timestamp, uuid or text. A plain table needs none." example:"created_at"`
	Refresh        Schedule          `yaml:"refresh" help:"When to sync by itself: 30s, 15m or a cron line; off is never." default:"off" example:"30s"`
	RefreshMinutes int               `yaml:"refresh_interval_minutes" help:"The same in minutes; 0 is off. Give one of the two." default:"0" example:"15" min:"0" max:"525600"`
	Reconcile      Schedule          `yaml:"reconcile" help:"When to compare keys and row hashes with the source and repair: a duration or a cron line; off is never." default:"off" example:"0 3 * * *"`
	QueryTimeout   *time.Duration    `yaml:"query_timeout" help:"statement_timeout of the reads, in seconds or with a unit; 0 leaves the server's own." computed:"0; 60 in a NAME_db block" example:"120"`
	Lookback       *time.Duration    `yaml:"lookback" help:"How far back an incremental sync reads again, for rows committed late." computed:"by late_commits" example:"5m"`
	LateCommits    string            `yaml:"late_commits" help:"How rows of transactions open during the last sync are caught: auto takes the strongest method the source allows." default:"auto" enum:"auto|xmin|lookback"`
	MaxSyncRows    *int64            `yaml:"max_sync_rows" help:"Rows read per table and run at most; 0 is no cap. The next run goes on where this one stopped; without incremental_column a capped full sync fails." computed:"duckdb.max_sync_rows; 2000000 in a NAME_db block" example:"2000000" min:"0"`
	OutOfRange     string            `yaml:"out_of_range" help:"What happens to a value DuckDB cannot hold: kept as text in a documented form, or the sync stops and names it." default:"text" enum:"text|stop"`
	AutoLoad       *bool             `yaml:"auto_load" help:"Whether the dataset is synced at start-up." computed:"true; false in a NAME_db block" example:"true"`
	Paused         bool              `yaml:"paused" help:"A paused dataset keeps its tables and is not synced." default:"false"`
}

// datasetSpec is one entry of datasets.
type datasetSpec struct {
	Source  string                `yaml:"source" help:"Name of the source to read from." example:"shop"`
	Mode    string                `yaml:"mode" help:"query reads with SQL; cdc follows the write-ahead log." default:"query" enum:"query|cdc"`
	Queries map[string]*querySpec `yaml:"queries" help:"Any number of named queries: each becomes the table NAME_QUERY."`
	View    string                `yaml:"view" help:"With queries: DuckDB SQL of the view NAME over the tables." example:"SELECT f.*, p.name FROM errors_failed f JOIN errors_partners p USING (partner_id)"`
	Table   string                `yaml:"table" help:"schema.table to copy as the table NAME." example:"public.messages"`
	Where   string                `yaml:"where" help:"With table: an SQL condition of the source." example:"created_at > now() - interval '90 days'"`
	commonSpec
	CDC
}

// querySpec is one entry of queries.
type querySpec struct {
	SQL         string            `yaml:"sql" help:"One SELECT of the source's SQL. A trailing ; is fine." example:"SELECT id AS partner_id, name FROM partners"`
	Key         []string          `yaml:"key" help:"Columns that are unique and not NULL." example:"[id]"`
	Incremental *string           `yaml:"incremental_column" help:"As the dataset's, for this query; an empty text takes the dataset's away." computed:"the dataset's" example:"created_at"`
	Partition   *string           `yaml:"partition_column" help:"As the dataset's, for this query." computed:"the dataset's" example:"id"`
	Types       map[string]string `yaml:"types" help:"As the dataset's, for this query; added to them." example:"{amount: \"DECIMAL(38,9)\"}"`
}

// blockSpec is a runbook block NAME_db: dataset NAME with a source of its own.
type blockSpec struct {
	Enabled     bool   `yaml:"enabled" help:"With false the dataset does not exist." default:"false"`
	AutoConnect bool   `yaml:"auto_connect" help:"Accepted from older files; it changes nothing." default:"false"`
	DBType      string `yaml:"db_type" help:"Kind of server." default:"postgres" enum:"postgres|postgresql"`
	URL         Secret `yaml:"url" help:"Connection URL; else NAME_DB_URL; else host and the others." example:"postgresql://axis_reader:${DB_PASSWORD}@prod-db.internal:5432/observability"`
	Host        string `yaml:"host" help:"Host or socket folder; else NAME_DB_HOST." example:"prod-db.internal"`
	Port        int    `yaml:"port" help:"Port; else NAME_DB_PORT." computed:"5432" example:"5432" min:"1" max:"65535"`
	Database    string `yaml:"database" help:"Database; else NAME_DB_NAME." example:"observability"`
	Username    string `yaml:"username" help:"Role; else NAME_DB_USER." example:"axis_reader"`
	Password    Secret `yaml:"password" help:"Password; else NAME_DB_PASSWORD." example:"${DB_PASSWORD}"`
	SSLMode     string `yaml:"ssl_mode" help:"TLS as in libpq; else NAME_DB_SSL_MODE." computed:"prefer" example:"require" enum:"disable|allow|prefer|require|verify-ca|verify-full"`
	Query       string `yaml:"query" help:"A single query in place of the two (kpi_db): becomes the table NAME." example:"SELECT * FROM kpi"`
	commonSpec

	Schema           unused `yaml:"schema" help:"Accepted, not used: a user interface's key."`
	Table            unused `yaml:"table" help:"Accepted, not used: a user interface's key."`
	Tables           unused `yaml:"tables" help:"Accepted, not used: a user interface's key."`
	RowLimit         unused `yaml:"row_limit" help:"Accepted, not used: a user interface's key. max_sync_rows caps a sync."`
	Filters          unused `yaml:"filters" help:"Accepted, not used: a user interface's key."`
	VisibleMetrics   unused `yaml:"visible_metrics" help:"Accepted, not used: a user interface's key."`
	Thresholds       unused `yaml:"thresholds" help:"Accepted, not used: a user interface's key."`
	AnomalyDetection unused `yaml:"anomaly_detection" help:"Accepted, not used: a user interface's key."`
}

// unused takes any value and warns.
type unused struct{}

// keySpec is a list, or a list for each of the two split queries.
type keySpec struct {
	List             []string
	Dataset, Results []string
	Split            bool
}

// columnsSpec is a list of columns, or a mapping of renames in the file's order.
type columnsSpec struct {
	List   []string
	Rename map[string]string
}
