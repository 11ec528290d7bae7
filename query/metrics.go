package query

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
	slow    prometheus.Counter
}

// newMetrics registers with reg; nil registers nowhere.
func newMetrics(reg prometheus.Registerer, a *admission) *metrics {
	m := &metrics{
		ends:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pintail_queries_total", Help: "Statements of readers that ended, by outcome: ok or the error's code."}, []string{"code"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "pintail_query_duration_seconds", Help: "From a statement's arrival to its last row, for those that ran.", Buckets: []float64{.001, .005, .02, .1, .5, 1, 5, 10, 30, 60, 300}}),
		rows:    prometheus.NewCounter(prometheus.CounterOpts{Name: "pintail_query_rows_total", Help: "Rows handed to readers."}),
		bytes:   prometheus.NewCounter(prometheus.CounterOpts{Name: "pintail_query_bytes_total", Help: "Bytes of answers, before compression."}),
		slow:    prometheus.NewCounter(prometheus.CounterOpts{Name: "pintail_slow_queries_total", Help: "Statements of readers that lasted longer than server.slow_query."}),
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.ends, m.seconds, m.rows, m.bytes, m.slow,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pintail_queries_running", Help: "Statements of readers that run."}, func() float64 {
			n, _ := a.counts()
			return float64(n)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pintail_queries_waiting", Help: "Statements of readers that wait for a slot."}, func() float64 {
			_, n := a.counts()
			return float64(n)
		}))
	return m
}

func (m *metrics) ended(err error, ran bool, elapsed time.Duration, rows, bytes int64) {
	code := "ok"
	if err != nil {
		code = string(fault.CodeOf(err))
	}
	m.ends.WithLabelValues(code).Inc()
	if ran {
		m.seconds.Observe(elapsed.Seconds())
	}
	m.rows.Add(float64(rows))
	m.bytes.Add(float64(bytes))
}
