package monitor

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/syncer"
)

func TestSourceGauges(t *testing.T) {
	m := New("")
	m.WatchSources(func() map[string]syncer.SourceStatus {
		return map[string]syncer.SourceStatus{
			"shop":  {Load: source.Load{Worked: 2500 * time.Millisecond, Share: 0.25}, QuietUntil: time.Now().Add(time.Hour)},
			"idle":  {},
			"blind": {Load: source.Load{Worked: time.Second, Share: -1}},
		}
	})
	require.NoError(t, testutil.GatherAndCompare(m.Gatherer(), strings.NewReader(`
# HELP pintail_source_load_share Share of ours, 0 to 1, in how long all sessions of the source's database were active within the last minute.
# TYPE pintail_source_load_share gauge
pintail_source_load_share{source="idle"} 0
pintail_source_load_share{source="shop"} 0.25
# HELP pintail_source_quiet 1 while the source has quiet hours, in which nothing heavy is begun there by itself.
# TYPE pintail_source_quiet gauge
pintail_source_quiet{source="blind"} 0
pintail_source_quiet{source="idle"} 0
pintail_source_quiet{source="shop"} 1
# HELP pintail_source_seconds_total How long statements of ours were active on the source, those at the same time added up.
# TYPE pintail_source_seconds_total counter
pintail_source_seconds_total{source="blind"} 1
pintail_source_seconds_total{source="idle"} 0
pintail_source_seconds_total{source="shop"} 2.5
`), "pintail_source_load_share", "pintail_source_quiet", "pintail_source_seconds_total"))
}
