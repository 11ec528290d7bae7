package pgwire

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	connections prometheus.Counter
	open        prometheus.Gauge
	refused     *prometheus.CounterVec
	statements  *prometheus.CounterVec
}

// newMetrics registers with reg; nil registers nowhere.
func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		connections: prometheus.NewCounter(prometheus.CounterOpts{Name: "pintail_pgwire_connections_total", Help: "Connections of PostgreSQL's protocol whose client has said who it is."}),
		open:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "pintail_pgwire_connections", Help: "Those that are open."}),
		refused:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pintail_pgwire_refused_total", Help: "Connections refused or ended by the server, by SQLSTATE."}, []string{"sqlstate"}),
		statements:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pintail_pgwire_statements_total", Help: "Statements, by protocol: simple, extended or copy; those of the session itself, as SET, too."}, []string{"protocol"}),
	}
	if reg != nil {
		reg.MustRegister(m.connections, m.open, m.refused, m.statements)
	}
	return m
}
