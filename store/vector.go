package store

import (
	"encoding/json"
	"time"
	"unsafe"

	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/change"
)

// borrow makes v show DuckDB's memory of n rows of d; nothing is copied.
func borrow(v *change.Vector, d duck.Vector, n int) {
	v.Data = duck.VectorGetData(d)
	v.Valid, v.HasNull = nil, false
	if m := duck.VectorGetValidity(d); m != nil && n > 0 {
		v.Valid, v.HasNull = unsafe.Slice((*uint64)(m), (n+63)/64), true
	}
}

// ownRow is a row of one of Pintail's own queries; NULL reads as the zero value.
type ownRow struct {
	c duck.DataChunk
	i int
}

func (r ownRow) vector(col int) (v change.Vector, null bool) {
	borrow(&v, duck.DataChunkGetVector(r.c, duck.IdxT(col)), r.i+1)
	return v, v.IsNull(r.i)
}

func (r ownRow) null(col int) bool {
	_, null := r.vector(col)
	return null
}

func (r ownRow) int(col int) int64 {
	if v, null := r.vector(col); !null {
		return *change.At[int64](&v, r.i)
	}
	return 0
}

func (r ownRow) float(col int) float64 {
	if v, null := r.vector(col); !null {
		return *change.At[float64](&v, r.i)
	}
	return 0
}

func (r ownRow) bool(col int) bool {
	v, null := r.vector(col)
	return !null && *change.At[byte](&v, r.i) != 0
}

func (r ownRow) text(col int) string {
	if v, null := r.vector(col); !null {
		return string(change.At[change.String](&v, r.i).Bytes())
	}
	return ""
}

// time reads microseconds since 1970 (epoch_us); NULL is the zero time.
func (r ownRow) time(col int) time.Time {
	if r.null(col) {
		return time.Time{}
	}
	return time.UnixMicro(r.int(col)).UTC()
}

// json is text, nil for NULL.
func (r ownRow) json(col int) json.RawMessage {
	if r.null(col) {
		return nil
	}
	return json.RawMessage(r.text(col))
}
