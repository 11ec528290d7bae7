package httpapi

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/pintaildb/pintail/query/columnar"
	"github.com/pintaildb/pintail/store"
)

// rowChunk is what encoders read of a chunk.
type rowChunk interface {
	AppendJSON(dst []byte, col, row int) []byte
	AppendCSV(dst []byte, col, row int) []byte
}

// encoder writes a result in one format. Each method appends to dst and returns it.
type encoder interface {
	contentType() string
	begin(dst []byte) []byte
	row(dst []byte, c rowChunk, row int) []byte
	end(dst []byte, s summary) []byte
	// fail ends the answer early; cut says that the transfer must be broken off too, because the format cannot say so.
	fail(dst []byte, s summary, e ErrorDetail) (out []byte, cut bool)
}

// summary is what is known of a result at its end.
type summary struct {
	rows      int64
	truncated bool
	elapsed   time.Duration
	position  map[string]Position
	cursor    string // for the next page; "" is none
}

func newEncoder(format string, columns []store.ResultColumn) encoder {
	switch format {
	case "csv":
		return &csvEncoder{columns: columns}
	case "ndjson":
		return newNDJSON(columns)
	}
	return &jsonEncoder{columns: columns}
}

type jsonEncoder struct {
	columns []store.ResultColumn
	more    bool // a row was written
}

func (*jsonEncoder) contentType() string { return "application/json" }

func (e *jsonEncoder) begin(dst []byte) []byte {
	e.more = false
	columns := make([]SQLColumn, len(e.columns))
	for i, c := range e.columns {
		columns[i] = SQLColumn{Name: c.Name, Type: c.Type}
	}
	return append(appendJSON(append(dst, `{"columns":`...), columns), `,"rows":[`...)
}

func (e *jsonEncoder) row(dst []byte, c rowChunk, row int) []byte {
	if e.more {
		dst = append(dst, ',')
	}
	e.more = true
	dst = append(dst, "\n["...)
	for col := range e.columns {
		if col > 0 {
			dst = append(dst, ',')
		}
		dst = c.AppendJSON(dst, col, row)
	}
	return append(dst, ']')
}

func (e *jsonEncoder) end(dst []byte, s summary) []byte { return append(e.tail(dst, s), "}\n"...) }

func (e *jsonEncoder) fail(dst []byte, s summary, err ErrorDetail) ([]byte, bool) {
	dst = append(e.tail(dst, s), `,"error":`...)
	return append(appendJSON(dst, err), "}\n"...), false
}

func (e *jsonEncoder) tail(dst []byte, s summary) []byte {
	dst = append(dst, `],"row_count":`...)
	dst = strconv.AppendInt(dst, s.rows, 10)
	dst = strconv.AppendBool(append(dst, `,"truncated":`...), s.truncated)
	if s.cursor != "" {
		dst = appendJSON(append(dst, `,"cursor":`...), s.cursor)
	}
	dst = appendJSON(append(dst, `,"position":`...), s.position)
	return strconv.AppendFloat(append(dst, `,"elapsed_ms":`...), float64(s.elapsed.Microseconds())/1000, 'f', 3, 64)
}

type ndjsonEncoder struct{ keys [][]byte } // `{"a":`, `,"b":`

func newNDJSON(columns []store.ResultColumn) *ndjsonEncoder {
	e := &ndjsonEncoder{}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	for i, name := range columnar.UniqueNames(names) {
		first := byte(',')
		if i == 0 {
			first = '{'
		}
		e.keys = append(e.keys, append(append([]byte{first}, jsonName(name)...), ':'))
	}
	return e
}

func (*ndjsonEncoder) contentType() string { return "application/x-ndjson" }

func (*ndjsonEncoder) begin(dst []byte) []byte { return dst }

func (e *ndjsonEncoder) row(dst []byte, c rowChunk, row int) []byte {
	for col, key := range e.keys {
		dst = c.AppendJSON(append(dst, key...), col, row)
	}
	return append(dst, "}\n"...)
}

func (*ndjsonEncoder) end(dst []byte, _ summary) []byte { return dst }

func (*ndjsonEncoder) fail(dst []byte, _ summary, err ErrorDetail) ([]byte, bool) {
	dst = append(dst, `{"error":`...)
	return append(appendJSON(dst, err), "}\n"...), true
}

type csvEncoder struct{ columns []store.ResultColumn }

func (*csvEncoder) contentType() string { return "text/csv; charset=utf-8; header=present" }

func (e *csvEncoder) begin(dst []byte) []byte {
	for i, c := range e.columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		if name := c.Name; name == "" || strings.ContainsAny(name, "\",\r\n") {
			name = `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
			dst = append(dst, name...)
		} else {
			dst = append(dst, name...)
		}
	}
	return append(dst, '\n')
}

func (e *csvEncoder) row(dst []byte, c rowChunk, row int) []byte {
	for col := range e.columns {
		if col > 0 {
			dst = append(dst, ',')
		}
		dst = c.AppendCSV(dst, col, row)
	}
	return append(dst, '\n')
}

func (*csvEncoder) end(dst []byte, _ summary) []byte { return dst }

func (*csvEncoder) fail(dst []byte, _ summary, _ ErrorDetail) ([]byte, bool) { return dst, true }

// appendJSON is for values of our own types, which all have a JSON form.
func appendJSON(dst []byte, v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return append(dst, bytes.TrimRight(b.Bytes(), "\n")...)
}
