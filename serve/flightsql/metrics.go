package flightsql

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

type metrics struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// newMetrics registers with reg; nil registers nowhere.
func newMetrics(reg prometheus.Registerer, h *handles) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pintail_flight_calls_total", Help: "Flight calls answered, by method and gRPC code."}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "pintail_flight_call_duration_seconds", Help: "From a call's header to the end of its answer.",
			Buckets: []float64{.001, .005, .02, .1, .5, 1, 5, 10, 30, 60, 300}}, []string{"method"}),
	}
	if reg != nil {
		reg.MustRegister(m.calls, m.seconds, prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: "pintail_flight_handles", Help: "Prepared statements, planned queries and transactions that clients hold."},
			func() float64 { return float64(h.len()) }))
	}
	return m
}

func (m *metrics) call(method string, code codes.Code, took time.Duration) {
	m.calls.WithLabelValues(method, code.String()).Inc()
	m.seconds.WithLabelValues(method).Observe(took.Seconds())
}
