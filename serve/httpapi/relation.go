package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/store"
	"github.com/pintaildb/pintail/syncer"
)

// relation is the table or view behind the name of a dataset, or behind one of its status keys.
type relation struct {
	status  syncer.Status
	name    string // quoted
	columns []store.ResultColumn
}

// relation resolves name and reads the columns. Errors: fault.NotFound or fault.Forbidden, fault.Usage when the dataset
// has several tables and no view, fault.Unavailable before its first sync.
func (s *Server) relation(ctx context.Context, name string) (*relation, error) {
	all, err := s.opts.Syncer.Status(ctx)
	if err != nil {
		return nil, err
	}
	var keys []string
	for key, st := range all {
		if st.Dataset == name {
			keys = append(keys, key)
		}
	}
	if _, ok := all[name]; ok {
		keys = []string{name}
	}
	slices.Sort(keys)
	who := infoOf(ctx).who
	switch len(keys) {
	case 0:
		if err := s.opts.Access.CanRead(who, name, ""); err != nil {
			return nil, err
		}
		return nil, fault.New(fault.NotFound, "GET /api/store/status lists them", "there is no dataset %q", name)
	case 1:
	default:
		return nil, fault.New(fault.Usage, "ask for one of "+strings.Join(keys, ", "), "dataset %s has %d tables and no view over them", name, len(keys))
	}
	st := all[keys[0]]
	if err := s.opts.Access.CanRead(who, st.Dataset, keys[0]); err != nil {
		return nil, err
	}
	if st.LastSync == nil {
		if st.State == "syncing" {
			return nil, fault.New(fault.Unavailable, "try again shortly", "%s is syncing for the first time", st.Dataset)
		}
		return nil, fault.New(fault.Unavailable, "POST /api/store/sync/"+st.Dataset, "%s has not been synced yet", st.Dataset)
	}
	rel := &relation{status: st, name: quotePath(keys[0])}
	res, err := s.opts.Queries.Run(ctx, who, query.Request{SQL: "SELECT * FROM " + rel.name + " LIMIT 0", Door: "http"})
	if err != nil {
		return nil, fault.Wrap(err, "read the columns of %s", keys[0])
	}
	defer res.Close()
	rel.columns = slices.Clone(res.Columns())
	return rel, nil
}

func (r *relation) column(name string) *store.ResultColumn {
	for i := range r.columns {
		if r.columns[i].Name == name {
			return &r.columns[i]
		}
	}
	return nil
}

// timeColumn is what time ranges are over: the incremental column if it holds times, else timestamp or created_at.
func (r *relation) timeColumn() *store.ResultColumn {
	for _, name := range []string{r.status.IncrementalColumn, "timestamp", "created_at"} {
		if c := r.column(name); c != nil && (strings.HasPrefix(c.Type, "TIMESTAMP") || c.Type == "DATE") {
			return c
		}
	}
	return nil
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quotePath quotes a status key: a table or view of schema main, or schema.table of a replica.
func quotePath(key string) string {
	if schema, table, ok := strings.Cut(key, "."); ok {
		return quote(schema) + "." + quote(table)
	}
	return `"main".` + quote(key)
}

// collect runs a statement with few rows, as the caller of the request, and hands each row to fn as JSON values.
func (s *Server) collect(ctx context.Context, sql string, params []any, fn func(row []json.RawMessage)) error {
	res, err := s.opts.Queries.Run(ctx, infoOf(ctx).who, query.Request{SQL: sql, Params: params, Door: "http"})
	if err != nil {
		return err
	}
	defer res.Close()
	width := len(res.Columns())
	for {
		chunk, n, err := res.Next()
		if err != nil {
			return err
		}
		if chunk == nil {
			break
		}
		for i := range n {
			var buf []byte
			ends := make([]int, width)
			for c := range width {
				buf = chunk.AppendJSON(buf, c, i)
				ends[c] = len(buf)
			}
			if err := res.Sent(len(buf)); err != nil {
				return err
			}
			row, start := make([]json.RawMessage, width), 0
			for c, end := range ends {
				row[c], start = buf[start:end:end], end
			}
			fn(row)
		}
	}
	if res.Truncated() {
		return fault.New(fault.Limit, "ask for fewer rows", "the answer has more rows than the role may have")
	}
	return nil
}

// unfit makes a statement of ours that DuckDB refuses because of a value the caller's mistake.
func unfit(err error) error {
	if fault.CodeOf(err) != fault.InvalidSQL {
		return err
	}
	return fault.New(fault.Usage, "GET /api/store/metadata/{dataset} shows the columns' types", "a parameter's value does not fit its column: %w", err)
}

func jsonName(name string) []byte {
	b, err := json.Marshal(name)
	if err != nil {
		panic(fmt.Sprintf("a string has no JSON form: %v", err)) // cannot be
	}
	return b
}
