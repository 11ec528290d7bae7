package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pintaildb/pintail/serve/endpoint"
)

// watched keeps the error with which a result has ended.
type watched struct {
	outgoing
	failed error
}

func (o *watched) send(to sink, most int64, bytesMax int) error {
	o.failed = o.outgoing.send(to, most, bytesMax)
	return o.failed
}

func (o *watched) end(to sink, s summary) error {
	o.failed = o.outgoing.end(to, s)
	return o.failed
}

// recorder takes an answer up to a size.
type recorder struct {
	header http.Header
	body   []byte
	max    int64
	over   bool
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(int)     {}

func (r *recorder) Write(p []byte) (int, error) {
	if int64(len(r.body)+len(p)) > r.max {
		r.over = true
		return 0, endpoint.ErrTooLarge
	}
	r.body = append(r.body, p...)
	return len(p), nil
}

// record runs send, which breaks off when the answer does not fit.
func record(r *recorder, send func()) (err error) {
	defer func() {
		p := recover()
		switch cause, _ := p.(error); {
		case r.over:
			err = endpoint.ErrTooLarge
		case p != nil && !errors.Is(cause, http.ErrAbortHandler): // else the answer is cut off because of its error, which watched has
			panic(p)
		}
	}()
	send()
	return nil
}

type endpointMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	rows     *prometheus.CounterVec
	hits     *prometheus.CounterVec
}

// newEndpointMetrics registers with reg; nil registers nowhere.
func newEndpointMetrics(reg prometheus.Registerer, cache *endpoint.Cache) *endpointMetrics {
	m := &endpointMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pintail_endpoint_requests_total", Help: "Requests to published endpoints, by endpoint and status; \"none\" is a name that is none."}, []string{"endpoint", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "pintail_endpoint_duration_seconds", Help: "From a request's header to the end of its answer, by endpoint.",
			Buckets: []float64{.0005, .001, .005, .02, .1, .5, 1, 5, 30}}, []string{"endpoint"}),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pintail_endpoint_rows_total", Help: "Rows in answers of endpoints, kept ones included."}, []string{"endpoint"}),
		hits: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pintail_endpoint_cache_hits_total", Help: "Requests that were answered by a kept answer, or by one that another request had asked for."}, []string{"endpoint"}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds, m.rows, m.hits, prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: "pintail_endpoint_cache_bytes", Help: "Memory of kept answers."}, func() float64 { return float64(cache.Bytes()) }))
	}
	return m
}

func (m *endpointMetrics) ended(name string, status int, took time.Duration, rows int64, hit bool) {
	m.requests.WithLabelValues(name, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(name).Observe(took.Seconds())
	m.rows.WithLabelValues(name).Add(float64(rows))
	if hit {
		m.hits.WithLabelValues(name).Inc()
	}
}
