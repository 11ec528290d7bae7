package pgwire

import (
	"encoding/binary"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/store"
)

// copy runs a COPY to its end.
func (c *conn) copy(p *portal) error {
	if p.st.cmd.copy.from {
		return c.copyFrom(p)
	}
	return c.copyTo(p)
}

// copyTo runs a COPY TO STDOUT.
func (c *conn) copyTo(p *portal) error {
	o := p.st.cmd.copy
	c.s.metrics.statements.WithLabelValues("copy").Inc()
	c.values = o.form == "parquet" || o.form == "arrow"
	st, err := c.prepare(o.query, nil)
	c.values = false
	if st != nil {
		defer st.release()
	}
	switch {
	case err != nil:
		return err
	case st.cmd != nil || st.empty:
		return newError("42601", "COPY needs a SELECT or a table", "")
	case len(st.params) > 0:
		return newError("42P02", "there is no parameter $1", "")
	}
	inner := c.newPortal("", st, nil)
	defer inner.close()
	if o.form == "parquet" || o.form == "arrow" {
		return c.copyBatches(inner, o)
	}
	var sent int64
	err = c.running(inner.ctx, inner.cancel, func() (err error) {
		if err = c.start(inner); err != nil {
			return err
		}
		codes := make([]uint16, len(st.columns))
		overall := byte(0)
		if o.form == "binary" {
			overall = 1
			for i := range codes {
				codes[i] = 1
			}
		}
		c.send(&pgproto3.CopyOutResponse{OverallFormat: overall, ColumnFormatCodes: codes})
		c.out = o.begin(c.out, st.columns)
		sent, _, err = c.rows(inner, 0, o.encoder(st.columns))
		return err
	})
	if err != nil {
		return err
	}
	if o.form == "binary" {
		c.out = append(c.out, 'd', 0, 0, 0, 6, 0xff, 0xff)
	}
	c.send(&pgproto3.CopyDone{})
	c.complete(countTag("COPY", sent))
	return nil
}

// begin appends what comes before the rows.
func (o *copySpec) begin(dst []byte, columns []column) []byte {
	start := len(dst)
	switch {
	case o.form == "binary":
		dst = append(dst, 'd', 0, 0, 0, 0)
		dst = append(dst, "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	case o.header:
		dst = append(dst, 'd', 0, 0, 0, 0)
		for i, col := range columns {
			if i > 0 {
				dst = append(dst, o.delimiter)
			}
			at := len(dst)
			dst = append(dst, col.name...)
			if o.form == "csv" {
				dst = o.quoteCSV(dst, at, false, len(columns) == 1)
			} else {
				dst = o.escapeText(dst, at)
			}
		}
		dst = append(dst, '\n')
	default:
		return dst
	}
	binary.BigEndian.PutUint32(dst[start+1:], uint32(len(dst)-start-1))
	return dst
}

// encoder writes a row into a CopyData message of its own.
func (o *copySpec) encoder(columns []column) encoder {
	n := len(columns)
	forced := make([]bool, n)
	for i, col := range columns {
		forced[i] = o.forceAll || slices.Contains(o.forceQuote, col.name)
	}
	be := binary.BigEndian
	row := func(dst []byte, chunk *store.ResultChunk, row int) []byte {
		for col := range n {
			if col > 0 {
				dst = append(dst, o.delimiter)
			}
			if chunk.IsNull(col, row) {
				dst = append(dst, o.null...)
				continue
			}
			at := len(dst)
			dst = chunk.AppendPGText(dst, col, row)
			if o.form == "csv" {
				dst = o.quoteCSV(dst, at, forced[col], n == 1)
			} else {
				dst = o.escapeText(dst, at)
			}
		}
		return append(dst, '\n')
	}
	if o.form == "binary" {
		row = func(dst []byte, chunk *store.ResultChunk, row int) []byte {
			dst = be.AppendUint16(dst, uint16(n))
			for col := range n {
				if chunk.IsNull(col, row) {
					dst = append(dst, 0xff, 0xff, 0xff, 0xff)
					continue
				}
				at := len(dst)
				dst = chunk.AppendPGBinary(append(dst, 0, 0, 0, 0), col, row)
				be.PutUint32(dst[at:], uint32(len(dst)-at-4))
			}
			return dst
		}
	}
	return func(dst []byte, chunk *store.ResultChunk, i int) []byte {
		start := len(dst)
		dst = row(append(dst, 'd', 0, 0, 0, 0), chunk, i)
		be.PutUint32(dst[start+1:], uint32(len(dst)-start-1))
		return dst
	}
}

// quoteCSV quotes the field at the end of dst, from at on, where it has to be.
func (o *copySpec) quoteCSV(dst []byte, at int, forced, alone bool) []byte {
	field := dst[at:]
	needed := forced || string(field) == o.null || alone && string(field) == `\.`
	escapes := 0
	for _, b := range field {
		switch b {
		case o.quote, o.escape:
			escapes++
			needed = needed || b == o.quote
		case o.delimiter, '\n', '\r':
			needed = true
		}
	}
	if !needed {
		return dst
	}
	n := len(dst)
	for range escapes + 2 {
		dst = append(dst, o.quote)
	}
	to := len(dst) - 1
	for from := n - 1; from >= at; from-- {
		b := dst[from]
		to--
		dst[to] = b
		if b == o.quote || b == o.escape {
			to--
			dst[to] = o.escape
		}
	}
	dst[at], dst[len(dst)-1] = o.quote, o.quote
	return dst
}

// textEscapes are the letters behind a backslash in COPY's text format.
var textEscapes = [256]byte{'\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't', '\v': 'v', '\\': '\\'}

// escapeText escapes the field at the end of dst, from at on.
func (o *copySpec) escapeText(dst []byte, at int) []byte {
	escapes := 0
	for _, b := range dst[at:] {
		if textEscapes[b] != 0 || b == o.delimiter {
			escapes++
		}
	}
	if escapes == 0 {
		return dst
	}
	n := len(dst)
	for range escapes {
		dst = append(dst, 0)
	}
	to := len(dst)
	for from := n - 1; from >= at; from-- {
		b := dst[from]
		e := textEscapes[b]
		if e == 0 && b == o.delimiter {
			e = b
		}
		to--
		if e == 0 {
			dst[to] = b
			continue
		}
		dst[to] = e
		to--
		dst[to] = '\\'
	}
	return dst
}
