package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// filterValuesMax is up to how many different values a column's are listed.
const filterValuesMax = 200

// Metadata describes a dataset's view or table.
type Metadata struct {
	RowCount     int64                        `json:"row_count"`
	Columns      []MetadataColumn             `json:"columns"`
	FilterValues map[string][]json.RawMessage `json:"filter_values" doc:"By column: its values, sorted, for text, enum and boolean columns with at most 200 different ones."`
	TimeRange    *TimeRange                   `json:"time_range" doc:"Of the column that time_start and time_end are over; null without one, or without rows."`
	SummaryStats *SummaryStats                `json:"summary_stats,omitempty" doc:"Where there is a column metric_score."`
}

// MetadataColumn is a column with its DuckDB type.
type MetadataColumn struct {
	Name string `json:"column_name"`
	Type string `json:"column_type"`
}

// TimeRange is the first and the last time.
type TimeRange struct {
	Min json.RawMessage `json:"min"`
	Max json.RawMessage `json:"max"`
}

// SummaryStats are over the rows that have a metric_score. Latencies are 0 where there is no column of them.
type SummaryStats struct {
	TotalRecords int64   `json:"total_records"`
	AvgScore     float64 `json:"avg_score"`
	PassRate     float64 `json:"pass_rate" doc:"Per cent of the rows with metric_score of at least 0.5."`
	P50Latency   float64 `json:"p50_latency"`
	P95Latency   float64 `json:"p95_latency"`
	P99Latency   float64 `json:"p99_latency"`
}

// DatasetMetadata is the answer about a dataset's metadata.
type DatasetMetadata struct {
	Success  bool     `json:"success"`
	Dataset  string   `json:"dataset"`
	Metadata Metadata `json:"metadata"`
}

type metadataOutput struct{ Body DatasetMetadata }

// metadataCache keeps what was computed of the data as it is: one entry for each status key.
type metadataCache struct {
	mu    sync.Mutex
	byKey map[string]cachedMetadata
}

type cachedMetadata struct {
	synced time.Time
	rows   int64
	value  Metadata
}

func (c *metadataCache) get(key string, synced time.Time, rows int64) (Metadata, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.byKey[key]
	return m.value, ok && m.synced.Equal(synced) && m.rows == rows
}

func (c *metadataCache) put(key string, synced time.Time, rows int64, m Metadata) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey == nil {
		c.byKey = map[string]cachedMetadata{}
	}
	c.byKey[key] = cachedMetadata{synced, rows, m}
}

func (s *Server) metadata(ctx context.Context, in *dataKeyInput) (*metadataOutput, error) {
	rel, err := s.relation(ctx, in.Dataset) // checks the right to read, cached or not
	if err != nil {
		return nil, err
	}
	m, ok := s.meta.get(rel.status.Key, *rel.status.LastSync, rel.status.Rows)
	if !ok {
		if m, err = s.computeMetadata(ctx, rel); err != nil {
			return nil, fault.Wrap(err, "describe %s", in.Dataset)
		}
		s.meta.put(rel.status.Key, *rel.status.LastSync, rel.status.Rows, m)
	}
	return &metadataOutput{Body: DatasetMetadata{Success: true, Dataset: rel.status.Dataset, Metadata: m}}, nil
}

type dataKeyInput struct {
	Dataset string `path:"dataset" doc:"Name of the dataset, or one of its status keys." example:"monitoring"`
}

// computeMetadata reads the relation twice: once for counts, ranges and numbers of values, once for the values of the
// columns that have few.
func (s *Server) computeMetadata(ctx context.Context, rel *relation) (Metadata, error) {
	m := Metadata{FilterValues: map[string][]json.RawMessage{}}
	exprs := []string{"count(*)"}
	var narrow []string
	for _, c := range rel.columns {
		m.Columns = append(m.Columns, MetadataColumn{Name: c.Name, Type: c.Type})
		if c.Type == "VARCHAR" || c.Type == "BOOLEAN" || strings.HasPrefix(c.Type, "ENUM") && !strings.HasSuffix(c.Type, "]") {
			narrow = append(narrow, c.Name)
			exprs = append(exprs, "approx_count_distinct("+quote(c.Name)+")")
		}
	}
	times := rel.timeColumn()
	if times != nil {
		exprs = append(exprs, "min("+quote(times.Name)+")", "max("+quote(times.Name)+")")
	}
	var few []string
	err := s.collect(ctx, "SELECT "+strings.Join(exprs, ", ")+" FROM "+rel.name, nil, func(row []json.RawMessage) {
		m.RowCount = number(row[0])
		for i, name := range narrow {
			if number(row[i+1]) <= 2*filterValuesMax { // the estimate may be off
				few = append(few, name)
			}
		}
		if last := row[len(row)-1]; times != nil && string(last) != "null" {
			m.TimeRange = &TimeRange{Min: row[len(row)-2], Max: last}
		}
	})
	if err != nil {
		return m, err
	}
	for _, name := range few {
		values := []json.RawMessage{}
		sql := fmt.Sprintf("SELECT DISTINCT %[1]s FROM %[2]s WHERE %[1]s IS NOT NULL ORDER BY %[1]s LIMIT $1", quote(name), rel.name)
		err := s.collect(ctx, sql, []any{int64(filterValuesMax + 1)}, func(row []json.RawMessage) { values = append(values, row[0]) })
		if err != nil {
			return m, err
		}
		if len(values) <= filterValuesMax {
			m.FilterValues[name] = values
		}
	}
	m.SummaryStats, err = s.summaryStats(ctx, rel)
	return m, err
}

var latencyColumns = []string{"latency", "latency_ms", "response_time", "duration", "duration_ms"}

func (s *Server) summaryStats(ctx context.Context, rel *relation) (*SummaryStats, error) {
	if c := rel.column("metric_score"); c == nil || !numeric(c.Type) {
		return nil, nil
	}
	latency := "NULL"
	for _, name := range latencyColumns {
		if c := rel.column(name); c != nil && numeric(c.Type) {
			latency = quote(name)
			break
		}
	}
	out := &SummaryStats{}
	sql := fmt.Sprintf(`SELECT count(*), avg(CAST(metric_score AS DOUBLE)), 100.0 * count(*) FILTER (WHERE metric_score >= 0.5) / nullif(count(*), 0),
		quantile_cont(CAST(%[1]s AS DOUBLE), 0.5), quantile_cont(CAST(%[1]s AS DOUBLE), 0.95), quantile_cont(CAST(%[1]s AS DOUBLE), 0.99)
		FROM %[2]s WHERE metric_score IS NOT NULL`, latency, rel.name)
	err := s.collect(ctx, sql, nil, func(row []json.RawMessage) {
		out.TotalRecords = number(row[0])
		for i, p := range []*float64{&out.AvgScore, &out.PassRate, &out.P50Latency, &out.P95Latency, &out.P99Latency} {
			_ = json.Unmarshal(row[i+1], p) // NULL and NaN leave 0
		}
	})
	return out, err
}

func numeric(duckType string) bool {
	base, _, _ := strings.Cut(duckType, "(")
	switch base {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL":
		return !strings.HasSuffix(duckType, "]")
	}
	return false
}

// number reads a BIGINT that DuckDB counted.
func number(v json.RawMessage) (n int64) {
	_ = json.Unmarshal(v, &n)
	return n
}
