package httpapi

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

// bodyWriter sends an answer piece by piece, compressed if asked for. After a failure it keeps the error and does nothing.
type bodyWriter struct {
	w           http.ResponseWriter
	control     *http.ResponseController
	timeout     time.Duration
	contentType string
	zip         *gzip.Writer // nil: not compressed
	started     bool         // the status is sent
	err         error
}

var gzipPool = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is a known one
	return z
}}

func newBodyWriter(w http.ResponseWriter, timeout time.Duration, contentType string, compress bool) *bodyWriter {
	b := &bodyWriter{w: w, control: http.NewResponseController(w), timeout: timeout, contentType: contentType}
	// The body was read in time; without this its deadline would end the connection, and with it the statement.
	_ = b.control.SetReadDeadline(time.Time{}) // unsupported only by tests' recorders
	if compress {
		b.zip = gzipPool.Get().(*gzip.Writer)
		b.zip.Reset(w)
	}
	return b
}

func (b *bodyWriter) start() {
	b.started = true
	h := b.w.Header()
	h.Set("Content-Type", b.contentType)
	h.Add("Vary", "Accept")
	h.Add("Vary", "Accept-Encoding")
	if b.zip != nil {
		h.Set("Content-Encoding", "gzip")
	}
	b.w.WriteHeader(http.StatusOK)
}

func (b *bodyWriter) write(p []byte) {
	if b.err != nil || len(p) == 0 {
		return
	}
	if !b.started {
		b.start()
	}
	_ = b.control.SetWriteDeadline(time.Now().Add(b.timeout)) // as above
	var to io.Writer = b.w
	if b.zip != nil {
		to = b.zip
	}
	_, b.err = to.Write(p)
}

func (b *bodyWriter) flush() {
	if !b.started {
		return
	}
	if b.err == nil && b.zip != nil {
		b.err = b.zip.Flush()
	}
	if b.err == nil {
		b.err = b.control.Flush()
	}
}

// close ends the compression and sends what is left; nothing, when nothing was written.
func (b *bodyWriter) close() {
	if b.zip != nil {
		if b.err == nil && b.started {
			b.err = b.zip.Close()
		}
		gzipPool.Put(b.zip)
		b.zip = nil
	}
	b.flush()
	_ = b.control.SetWriteDeadline(time.Time{})
}

// acceptsGzip reads Accept-Encoding.
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		if coding = strings.ToLower(strings.TrimSpace(coding)); coding != "gzip" && coding != "*" {
			continue
		}
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			if q, err := strconv.ParseFloat(v, 64); err == nil && q == 0 {
				return false
			}
		}
		return true
	}
	return false
}
