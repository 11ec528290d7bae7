package endpoint

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/pintaildb/pintail/config"
)

// Rates counts requests, for each user and endpoint. Its methods may be called from any goroutine.
type Rates struct {
	mu       sync.Mutex
	limiters map[rateKey]*limiter
	swept    time.Time
}

type rateKey struct{ endpoint, user string }

type limiter struct {
	*rate.Limiter
	rate config.Rate
}

// sweepEvery is how often limiters are dropped that would let everything through by now.
const sweepEvery = time.Minute

// NewRates counts nothing yet.
func NewRates() *Rates { return &Rates{limiters: map[rateKey]*limiter{}} }

// Take counts a request. wait is how long the next try has to wait when this one is too many, else 0.
func (r *Rates) Take(endpoint, user string, limit config.Rate, now time.Time) (wait time.Duration) {
	perSecond, burst := limit.Limit()
	if burst == 0 {
		return 0
	}
	key := rateKey{endpoint, user}
	r.mu.Lock()
	if now.Sub(r.swept) > sweepEvery {
		r.swept = now
		for k, l := range r.limiters {
			if l.TokensAt(now) >= float64(l.Burst()) {
				delete(r.limiters, k)
			}
		}
	}
	l := r.limiters[key]
	if l == nil || l.rate != limit {
		l = &limiter{Limiter: rate.NewLimiter(rate.Limit(perSecond), burst), rate: limit}
		r.limiters[key] = l
	}
	r.mu.Unlock()
	reserved := l.ReserveN(now, 1)
	if wait = reserved.DelayFrom(now); wait > 0 {
		reserved.CancelAt(now)
	}
	return wait
}
