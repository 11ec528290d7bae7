package httpapi

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pintaildb/pintail/query"
)

// reply is a result to be streamed as the answer of a request.
type reply struct {
	res    *query.Result
	out    outgoing // whose first was called
	coding string   // of codingOf
	etag   string
	synced map[string]time.Time // as of when datasets hold, asked before the statement began
}

// positionName is the header that has the positions for every format, truncatedName the trailer that says whether a limit has cut rows
// off, cursorName the header with the cursor of the next page.
const (
	positionName    = "X-Pintail-Position"
	minPositionName = "X-Pintail-Min-Position" // of a request to an endpoint
	truncatedName   = "X-Pintail-Truncated"
	cursorName      = "X-Pintail-Cursor"
)

// stream sends the whole result, and closes it. It panics with http.ErrAbortHandler where the client must not take the answer for whole.
func (s *Server) stream(ctx context.Context, w http.ResponseWriter, r reply) {
	defer r.res.Close()
	defer r.out.close()
	h := w.Header()
	if at := positionHeader(r.res.Positions()); at != "" {
		h.Set(positionName, at)
	}
	setETag(h, r.etag)
	h.Set("Trailer", truncatedName)
	body := newBodyWriter(w, s.writeTimeout, r.out.contentType(), r.coding)
	err := r.out.send(body, 0, 0)
	sum := summary{rows: r.out.rows(), truncated: r.res.Truncated(), elapsed: r.res.Elapsed(), position: position(r.res, r.synced)}
	if err == nil && body.err == nil {
		err = r.out.end(body, sum)
	}
	switch {
	case body.err != nil:
		body.close(true)
		panic(http.ErrAbortHandler) // the client is gone
	case err != nil && !body.started:
		body.close(false)
		for _, name := range []string{positionName, "ETag", "Trailer"} {
			h.Del(name)
		}
		h.Set("Cache-Control", "no-store")
		s.fail(ctx, err).write(w)
		return
	case err != nil:
		cut := r.out.fail(body, sum, s.fail(ctx, err).Detail)
		body.close(cut)
		if cut {
			panic(http.ErrAbortHandler)
		}
	default:
		if !body.started {
			body.start() // an answer without a byte
		}
		body.close(false)
	}
	if body.err != nil {
		panic(http.ErrAbortHandler)
	}
	h.Set(truncatedName, strconv.FormatBool(sum.truncated))
}

// Position says as of when a dataset's data holds.
type Position struct {
	SyncedAt    *time.Time `json:"synced_at,omitempty" doc:"By the source's clock; the rows read may be newer."`
	LSN         string     `json:"lsn,omitempty" doc:"Of a dataset of mode: cdc, exactly: the rows read are those of all transactions whose commit record lies before in the source's log, and of none after."`
	CommittedAt *time.Time `json:"committed_at,omitempty" doc:"Commit of the last of these transactions, by the source's clock."`
	Behind      []string   `json:"behind,omitempty" doc:"Tables read of which lsn does not hold: they are older, because they are being copied anew or are in quarantine."`
}

func position(res *query.Result, synced map[string]time.Time) map[string]Position {
	out := map[string]Position{}
	at := res.Positions()
	for _, d := range res.Datasets() {
		var p Position
		if t, ok := synced[d]; ok {
			p.SyncedAt = orNoTime(t)
		}
		if r, ok := at[d]; ok {
			p.LSN, p.CommittedAt, p.Behind = r.LSN.String(), orNoTime(r.CommittedAt), r.Behind
		}
		if p.SyncedAt != nil || p.LSN != "" {
			out[d] = p
		}
	}
	return out
}

// positionHeader is the value of positionName: dataset=lsn, with commas between. Datasets of which it does not hold for every table read
// are left out.
func positionHeader(at map[string]query.Position) string {
	var parts []string
	for _, d := range slices.Sorted(maps.Keys(at)) {
		if p := at[d]; len(p.Behind) == 0 {
			parts = append(parts, d+"="+p.LSN.String())
		}
	}
	return strings.Join(parts, ", ")
}
