package store

import (
	"encoding/binary"

	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/change"
)

// PostgreSQL's catalog has vectors of its own, int2vector and oidvector: arrays that count from 0 and are written with blanks between.

func (v *vector) pgVectorText(dst []byte, i int) []byte {
	from, to := v.span(i)
	for k := from; k < to; k++ {
		if k > from {
			dst = append(dst, ' ')
		}
		dst = v.kids[0].text(dst, k)
	}
	return dst
}

func (v *vector) pgVectorBinary(dst []byte, i int) []byte {
	be := binary.BigEndian
	kid := &v.kids[0]
	elem, size := uint32(21), uint32(2)
	if kid.typ.id == duck.TypeUInteger {
		elem, size = 26, 4
	}
	from, to := v.span(i)
	for _, n := range []uint32{1, 0, elem, uint32(to - from), 0} { // dimensions, flags, type, length, lower bound
		dst = be.AppendUint32(dst, n)
	}
	for k := from; k < to; k++ {
		dst = be.AppendUint32(dst, size)
		if size == 4 {
			dst = be.AppendUint32(dst, *change.At[uint32](&kid.Vector, k))
		} else {
			dst = be.AppendUint16(dst, uint16(*change.At[int16](&kid.Vector, k)))
		}
	}
	return dst
}
