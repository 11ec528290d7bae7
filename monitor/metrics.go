// Package monitor watches: metrics of runs and of the file, and the checks behind "is it ready". Nothing on the data path
// imports it; its parts are handed in as observers and functions.
package monitor

import (
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/pintaildb/pintail/store"
)

// Monitor holds the registry and the metrics of runs. It is the observer of a syncer; its methods may be called from any
// goroutine.
type Monitor struct {
	registry    *prometheus.Registry
	runs        *prometheus.CounterVec
	rowsRead    *prometheus.CounterVec
	rowsWritten *prometheus.CounterVec
	bytesRead   *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	errors      *prometheus.CounterVec
	replicas    *replicas
}

// New makes a registry with the metrics of runs, of the build, of Go and of the process.
func New(version string) *Monitor {
	dataset := []string{"dataset"}
	m := &Monitor{
		registry:    prometheus.NewRegistry(),
		runs:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pintail_runs_total", Help: "Runs that ended, by how."}, []string{"dataset", "kind", "state"}),
		rowsRead:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pintail_rows_read_total", Help: "Rows read from sources."}, dataset),
		rowsWritten: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pintail_rows_written_total", Help: "Rows inserted, replaced or deleted in the copy."}, dataset),
		bytesRead:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pintail_bytes_read_total", Help: "Bytes read from sources."}, dataset),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "pintail_run_duration_seconds", Help: "Of runs, retries included.",
			Buckets: []float64{.05, .2, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600}}, []string{"dataset", "kind"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pintail_sync_errors_total", Help: "Runs that failed, by the error's code."}, []string{"dataset", "code"}),
	}
	m.replicas = newReplicas(m.registry)
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "pintail_build_info", Help: "1; the labels say which build runs.",
		ConstLabels: prometheus.Labels{"version": version, "go": goVersion()}})
	build.Set(1)
	m.registry.MustRegister(m.runs, m.rowsRead, m.rowsWritten, m.bytesRead, m.seconds, m.errors, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Registerer is where the other parts register their metrics.
func (m *Monitor) Registerer() prometheus.Registerer { return m.registry }

// Gatherer collects all of them.
func (m *Monitor) Gatherer() prometheus.Gatherer { return m.registry }

// Watch registers what is asked for at each scrape: the age of what syncedAt says of each dataset (one that was never
// synced has none), and the sizes of the DuckDB file, of its write-ahead log, and of what is in use within the file.
func (m *Monitor) Watch(syncedAt func() map[string]time.Time, size func() (file, wal, used int64, err error)) {
	m.registry.MustRegister(freshness{syncedAt}, fileSize{size})
}

func goVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.GoVersion
	}
	return ""
}

// RunEnded counts a run. A cancelled one is no error.
func (m *Monitor) RunEnded(r store.Run, took time.Duration) {
	m.runs.WithLabelValues(r.Dataset, r.Kind, r.State).Inc()
	m.rowsRead.WithLabelValues(r.Dataset).Add(float64(r.RowsRead))
	m.rowsWritten.WithLabelValues(r.Dataset).Add(float64(r.RowsWritten))
	m.bytesRead.WithLabelValues(r.Dataset).Add(float64(r.Bytes))
	m.seconds.WithLabelValues(r.Dataset, r.Kind).Observe(took.Seconds())
	if r.State == "error" {
		m.errors.WithLabelValues(r.Dataset, r.Code).Inc()
	}
}

var freshnessDesc = prometheus.NewDesc("pintail_dataset_freshness_seconds", "Age of the moment at which a dataset's copy equals its source: the snapshot of its last good sync.", []string{"dataset"}, nil)

type freshness struct {
	syncedAt func() map[string]time.Time
}

func (freshness) Describe(ch chan<- *prometheus.Desc) { ch <- freshnessDesc }

func (f freshness) Collect(ch chan<- prometheus.Metric) {
	for dataset, at := range f.syncedAt() {
		ch <- prometheus.MustNewConstMetric(freshnessDesc, prometheus.GaugeValue, time.Since(at).Seconds(), dataset)
	}
}

var (
	fileDesc = prometheus.NewDesc("pintail_store_file_bytes", "Size of the DuckDB file.", nil, nil)
	walDesc  = prometheus.NewDesc("pintail_store_wal_bytes", "Size of the DuckDB file's write-ahead log.", nil, nil)
	usedDesc = prometheus.NewDesc("pintail_store_used_bytes", "Bytes of the DuckDB file in use; the rest is free for new data.", nil, nil)
)

type fileSize struct {
	size func() (file, wal, used int64, err error)
}

func (fileSize) Describe(ch chan<- *prometheus.Desc) { ch <- fileDesc; ch <- walDesc; ch <- usedDesc }

func (f fileSize) Collect(ch chan<- prometheus.Metric) {
	file, wal, used, err := f.size()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(fileDesc, err) // the scrape says so
		return
	}
	ch <- prometheus.MustNewConstMetric(fileDesc, prometheus.GaugeValue, float64(file))
	ch <- prometheus.MustNewConstMetric(walDesc, prometheus.GaugeValue, float64(wal))
	ch <- prometheus.MustNewConstMetric(usedDesc, prometheus.GaugeValue, float64(used))
}
