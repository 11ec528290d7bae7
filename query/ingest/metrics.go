package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pintaildb/pintail/internal/fault"
)

type metrics struct {
	ends    *prometheus.CounterVec
	seconds prometheus.Histogram
	rows    prometheus.Counter
	bytes   prometheus.Counter
	running prometheus.Gauge
}

// newMetrics registers with reg; nil registers nowhere.
func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		ends:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pintail_puts_total", Help: "Puts of clients that ended, by outcome: ok or the error's code."}, []string{"code"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "pintail_put_duration_seconds", Help: "From a put's arrival to its commit.", Buckets: []float64{.001, .005, .02, .1, .5, 1, 5, 10, 30, 60, 300}}),
		rows:    prometheus.NewCounter(prometheus.CounterOpts{Name: "pintail_put_rows_total", Help: "Rows of clients that were committed."}),
		bytes:   prometheus.NewCounter(prometheus.CounterOpts{Name: "pintail_put_bytes_total", Help: "Bytes that clients put, as Arrow has them in memory, committed or not."}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{Name: "pintail_puts_running", Help: "Puts of clients under way."}),
	}
	if reg != nil {
		reg.MustRegister(m.ends, m.seconds, m.rows, m.bytes, m.running)
	}
	return m
}

func (m *metrics) ended(err error, elapsed time.Duration, rows, bytes int64) {
	code := "ok"
	if err != nil {
		code = string(fault.CodeOf(err))
	}
	m.ends.WithLabelValues(code).Inc()
	m.seconds.Observe(elapsed.Seconds())
	m.rows.Add(float64(rows))
	m.bytes.Add(float64(bytes))
}
