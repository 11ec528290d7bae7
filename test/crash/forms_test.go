package crash

import "fmt"

// form is one form of dataset with a source of its own.
type form struct {
	name    string
	schema  string               // SQL of the source
	dataset string               // YAML of the dataset, whose name is the form's
	change  func(n int) []string // SQL of the n-th increment: no deletes, which only a full sync sees
	objects []object
	tables  []string // of the copy
	status  string   // key
}

const (
	splitSchema = `
	CREATE TABLE traces (id text PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(), prompt text, cost numeric(12,4));
	CREATE TABLE scores (trace_id text NOT NULL, metric text NOT NULL, score float8, created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (trace_id, metric));
	INSERT INTO traces (id, prompt, cost) SELECT 'T' || g, repeat('prompt ' || g, g % 9), g * 0.0001 FROM generate_series(1, 1200) g;
	INSERT INTO scores (trace_id, metric, score) SELECT 'T' || g, m, g / 3.0 FROM generate_series(1, 1200) g, unnest(ARRAY['faithful', 'relevant']) m`
	splitDataset = "SELECT id AS dataset_id, created_at, prompt, cost FROM traces"
	splitResults = "SELECT trace_id AS dataset_id, metric, score, created_at FROM scores"
	splitView    = `SELECT d.dataset_id, r.metric, r.score, r.created_at, d.created_at AS dataset_created_at, d.prompt, d.cost
		FROM (` + splitDataset + `) d LEFT JOIN (` + splitResults + `) r ON r.dataset_id = d.dataset_id`
)

// forms are the forms of dataset that a sync by query knows.
var forms = []form{
	{
		name:   "split",
		schema: splitSchema,
		dataset: `{source: pg, dataset_query: "` + splitDataset + `", results_query: "` + splitResults + `",
    key: {dataset: [dataset_id], results: [dataset_id, metric]}, incremental_column: created_at, partition_column: created_at}`,
		change: func(n int) []string {
			return []string{fmt.Sprintf(`BEGIN; INSERT INTO traces (id, prompt) SELECT 'N%d-' || g, 'new' FROM generate_series(1, 50) g;
				INSERT INTO scores (trace_id, metric, score) SELECT 'N%d-' || g, 'faithful', g FROM generate_series(1, 50) g; COMMIT`, n, n),
				fmt.Sprintf(`UPDATE traces SET prompt = 'changed by %d', created_at = now() WHERE id LIKE 'T%d%%'`, n, n%10),
				fmt.Sprintf(`UPDATE scores SET score = -%d, created_at = now() WHERE trace_id LIKE 'T7%d%%'`, n, n%10)}
		},
		objects: []object{
			{"split_dataset", splitDataset, []string{"dataset_id"}},
			{"split_results", splitResults, []string{"dataset_id", "metric"}},
			{"split_data", splitView, nil}},
		tables: []string{"split_dataset", "split_results"},
		status: "split_data",
	},
	{
		name: "queries",
		schema: `
	CREATE TABLE partners (id int PRIMARY KEY, name text);
	INSERT INTO partners SELECT g, 'partner ' || g FROM generate_series(1, 40) g;
	CREATE TABLE messages (id bigserial PRIMARY KEY, partner_id int, status text, payload jsonb, updated_at timestamptz NOT NULL DEFAULT now());
	INSERT INTO messages (partner_id, status, payload) SELECT 1 + g % 40, CASE WHEN g % 3 = 0 THEN 'failed' ELSE 'done' END, jsonb_build_object('n', g) FROM generate_series(1, 2000) g`,
		dataset: `{source: pg, queries: {failed: {sql: "SELECT id, partner_id, payload, updated_at FROM messages WHERE status = 'failed'", key: [id], incremental_column: updated_at},
    partners: {sql: "SELECT id AS partner_id, name FROM partners"}}, view: "SELECT f.*, p.name FROM queries_failed f JOIN queries_partners p USING (partner_id)"}`,
		change: func(n int) []string {
			return []string{fmt.Sprintf(`BEGIN; INSERT INTO partners VALUES (%d, 'new partner'); INSERT INTO messages (partner_id, status) SELECT %[1]d, 'failed' FROM generate_series(1, 30); COMMIT`, 1000+n),
				fmt.Sprintf(`UPDATE partners SET name = 'renamed by %d' WHERE id %% 10 = %d`, n, n%10),
				fmt.Sprintf(`UPDATE messages SET status = 'failed', payload = '{"by": %d}', updated_at = now() WHERE id %% 100 = %d`, n, n%100)}
		},
		objects: []object{
			{"queries_failed", "SELECT id, partner_id, payload, updated_at FROM messages WHERE status = 'failed'", []string{"id"}},
			{"queries_partners", "SELECT id AS partner_id, name FROM partners", []string{"partner_id"}},
			{"queries", "SELECT m.id, m.partner_id, m.payload, m.updated_at, p.name FROM messages m JOIN partners p ON p.id = m.partner_id WHERE m.status = 'failed'", []string{"id"}}},
		tables: []string{"queries_failed", "queries_partners"},
		status: "queries",
	},
	{
		name: "keyed",
		schema: `
	CREATE TABLE keyed (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, status text, amount numeric(14,2), updated_at timestamptz NOT NULL DEFAULT now());
	INSERT INTO keyed (status, amount) SELECT 's' || g % 7, g * 1.25 FROM generate_series(1, 2500) g`,
		dataset: `{source: pg, table: keyed, key: [id], incremental_column: updated_at}`,
		change: func(n int) []string {
			return []string{`INSERT INTO keyed (status) SELECT 'new' FROM generate_series(1, 60)`,
				fmt.Sprintf(`UPDATE keyed SET status = 'by %d', updated_at = now() WHERE id %% 50 = %d`, n, n%50)}
		},
		objects: []object{{"keyed", "SELECT * FROM keyed", []string{"id"}}},
		tables:  []string{"keyed"},
		status:  "keyed",
	},
	{
		name: "keyless",
		schema: `
	CREATE TABLE keyless (id bigserial, what text, at timestamptz NOT NULL DEFAULT now());
	INSERT INTO keyless (what) SELECT 'event ' || g % 11 FROM generate_series(1, 2500) g`,
		dataset: `{source: pg, table: keyless, incremental_column: id}`,
		change: func(n int) []string {
			return []string{fmt.Sprintf(`INSERT INTO keyless (what) SELECT 'later %d' FROM generate_series(1, 70)`, n)}
		},
		objects: []object{{"keyless", "SELECT * FROM keyless", nil}},
		tables:  []string{"keyless"},
		status:  "keyless",
	},
	{
		// Two equal rows are two rows, and all rows of one transaction share the moment by which they are followed.
		name: "ties",
		schema: `
	CREATE TABLE ties (what text, at timestamptz NOT NULL DEFAULT now());
	INSERT INTO ties (what) SELECT 'event ' || g % 11 FROM generate_series(1, 1500) g`,
		dataset: `{source: pg, table: ties, incremental_column: at}`,
		change: func(n int) []string {
			return []string{fmt.Sprintf(`INSERT INTO ties (what) SELECT 'later %d' FROM generate_series(1, 40)`, n)}
		},
		objects: []object{{"ties", "SELECT * FROM ties", nil}},
		tables:  []string{"ties"},
		status:  "ties",
	},
}
