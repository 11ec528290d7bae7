package monitor

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pintaildb/pintail/syncer"
)

// WatchSources registers what is asked for of each source at each scrape. What is not known has no value.
func (m *Monitor) WatchSources(sources func() map[string]syncer.SourceStatus) {
	m.registry.MustRegister(sourceGauges{sources})
}

type sourceGauges struct {
	sources func() map[string]syncer.SourceStatus
}

var (
	workedDesc = prometheus.NewDesc("pintail_source_seconds_total", "How long statements of ours were active on the source, those at the same time added up.", []string{"source"}, nil)
	shareDesc  = prometheus.NewDesc("pintail_source_load_share", "Share of ours, 0 to 1, in how long all sessions of the source's database were active within the last minute.", []string{"source"}, nil)
	quietDesc  = prometheus.NewDesc("pintail_source_quiet", "1 while the source has quiet hours, in which nothing heavy is begun there by itself.", []string{"source"}, nil)
)

func (sourceGauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- workedDesc
	ch <- shareDesc
	ch <- quietDesc
}

func (g sourceGauges) Collect(ch chan<- prometheus.Metric) {
	for name, s := range g.sources() {
		ch <- prometheus.MustNewConstMetric(workedDesc, prometheus.CounterValue, s.Worked.Seconds(), name)
		if s.Share >= 0 {
			ch <- prometheus.MustNewConstMetric(shareDesc, prometheus.GaugeValue, s.Share, name)
		}
		quiet := 0.0
		if !s.QuietUntil.IsZero() {
			quiet = 1
		}
		ch <- prometheus.MustNewConstMetric(quietDesc, prometheus.GaugeValue, quiet, name)
	}
}
