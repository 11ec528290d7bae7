package pgwire

import (
	"encoding/binary"
	"errors"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/query/columnar"
)

// copyBatches sends a result as a Parquet file or an Arrow stream, in the bytes of a COPY.
func (c *conn) copyBatches(p *portal, o *copySpec) error {
	var sent int64
	err := c.running(p.ctx, p.cancel, func() error {
		if err := c.start(p); err != nil {
			return err
		}
		reader := columnar.NewReader(p.res, o.form, 0)
		defer reader.Release()
		first, err := reader.Next() // an error that it finds comes before the answer
		if err != nil {
			return err
		}
		to := &copyBytes{c: c}
		c.send(&pgproto3.CopyOutResponse{OverallFormat: 1})
		w := columnar.NewArrow(reader.Schema(), to)
		if o.form == "parquet" {
			if w, err = columnar.NewParquet(reader.Schema(), o.compression, to); err != nil {
				if first != nil {
					first.Release()
				}
				return err
			}
		}
		for batch := first; batch != nil; {
			err := w.Write(batch)
			sent += batch.NumRows()
			batch.Release()
			if err != nil {
				return to.because(err)
			}
			if batch, err = reader.Next(); err != nil {
				return err
			}
		}
		if p.res.Truncated() {
			return p.truncated()
		}
		return to.because(w.Close(false))
	})
	if err != nil {
		return err
	}
	c.send(&pgproto3.CopyDone{})
	c.complete(countTag("COPY", sent))
	return nil
}

// copyBytes makes CopyData messages of what is written to it.
type copyBytes struct {
	c   *conn
	err error
}

// Write implements io.Writer.
func (b *copyBytes) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && b.err == nil; {
		n := min(len(rest), bytesFlush)
		b.c.out = append(b.c.out, 'd')
		b.c.out = binary.BigEndian.AppendUint32(b.c.out, uint32(4+n))
		b.c.out = append(b.c.out, rest[:n]...)
		if rest = rest[n:]; len(b.c.out) >= bytesFlush {
			b.err = b.c.flush()
		}
	}
	if b.err != nil {
		return 0, b.err
	}
	return len(p), nil
}

// Flush implements columnar.Flusher. Small pieces go together with those that follow.
func (b *copyBytes) Flush() error { return b.err }

// because prefers why nothing could be sent to what became of that.
func (b *copyBytes) because(err error) error {
	if b.err != nil && !errors.Is(err, b.err) {
		return b.err
	}
	return err
}
