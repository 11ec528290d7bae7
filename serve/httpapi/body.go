package httpapi

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// bodyWriter sends an answer piece by piece, compressed if asked for. After a failure it keeps the error and does nothing.
type bodyWriter struct {
	w           http.ResponseWriter
	control     *http.ResponseController
	timeout     time.Duration
	contentType string
	coding      string
	zip         compressor // nil: not compressed
	started     bool       // the status is sent
	err         error
}

type compressor interface {
	io.WriteCloser
	Flush() error
	Reset(w io.Writer)
}

// zstdWindow bounds what a client must have in memory to read the answer, and what the server has to write it.
const zstdWindow = 1 << 20

var compressors = map[string]*sync.Pool{
	"gzip": {New: func() any {
		z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is a known one
		return z
	}},
	"zstd": {New: func() any {
		z, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true)) // as above
		return z
	}},
}

// newBodyWriter begins nothing yet: the header may still be changed until the first byte is written.
func newBodyWriter(w http.ResponseWriter, timeout time.Duration, contentType, coding string) *bodyWriter {
	b := &bodyWriter{w: w, control: http.NewResponseController(w), timeout: timeout, contentType: contentType, coding: coding}
	// The body was read in time; without this its deadline would end the connection, and with it the statement.
	_ = b.control.SetReadDeadline(time.Time{}) // unsupported only by tests' recorders
	if pool := compressors[coding]; pool != nil {
		b.zip = pool.Get().(compressor)
		b.zip.Reset(w)
	}
	return b
}

func (b *bodyWriter) start() {
	b.started = true
	h := b.w.Header()
	h.Set("Content-Type", b.contentType)
	vary(h)
	if b.zip != nil {
		h.Set("Content-Encoding", b.coding)
	}
	b.w.WriteHeader(http.StatusOK)
}

// vary says which of the request's headers decide about the answer's form.
func vary(h http.Header) {
	h.Add("Vary", "Accept")
	h.Add("Vary", "Accept-Encoding")
}

// Write sends p.
func (b *bodyWriter) Write(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if !b.started {
		b.start()
	}
	_ = b.control.SetWriteDeadline(time.Now().Add(b.timeout)) // as above
	var to io.Writer = b.w
	if b.zip != nil {
		to = b.zip
	}
	n, err := to.Write(p)
	b.err = err
	return n, err
}

// Flush sends on what was written.
func (b *bodyWriter) Flush() error {
	if !b.started || b.err != nil {
		return b.err
	}
	if b.zip != nil {
		b.err = b.zip.Flush()
	}
	if b.err == nil {
		if b.err = b.control.Flush(); errors.Is(b.err, http.ErrNotSupported) {
			b.err = nil // a test's recorder
		}
	}
	return b.err
}

// close ends the compression and sends what is left; nothing, when nothing was written. After cut the compressed stream has no end.
func (b *bodyWriter) close(cut bool) {
	if b.zip != nil {
		if b.err == nil && b.started {
			if cut {
				b.err = b.zip.Flush()
			} else {
				b.err = b.zip.Close()
			}
		}
		b.zip.Reset(nil)
		compressors[b.coding].Put(b.zip)
		b.zip = nil
	}
	_ = b.Flush() // b.err has it
	_ = b.control.SetWriteDeadline(time.Time{})
}
