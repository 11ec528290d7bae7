package types

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/pintaildb/pintail/change"
)

// Binary writes one value of a tuple of the replication stream as row of v, the vector of column col: b is PostgreSQL's
// binary form of the column's own type, before Cast. The vector's value is the one that COPY with Cast gives. b's memory,
// and the Decoder's until Reset, must stay until v is consumed. Errors are *DecodeError. A type for which StreamsBinary
// is false is an error.
func (d *Decoder) Binary(v *change.Vector, col, row int, b []byte) error {
	if err := d.own(&d.types[col], v, row, b); err != nil {
		return &DecodeError{col, err}
	}
	return nil
}

// Text is Binary for PostgreSQL's text output of the value, under the settings that docs/types.md lists.
func (d *Decoder) Text(v *change.Vector, col, row int, b []byte) error {
	if err := d.text(&d.types[col], v, row, b); err != nil {
		return &DecodeError{col, err}
	}
	return nil
}

// Reset gives back the memory of the values whose bytes are not as they came (bytea in text, array elements with
// escapes, …): what Binary and Text have written before must have been consumed.
func (d *Decoder) Reset() { d.kept.reset() }

// own decodes the binary form of a type that COPY may read cast.
func (d *Decoder) own(t *Type, v *change.Vector, row int, b []byte) error {
	switch {
	case t.Kind == List:
		return d.list(t, v, row, b, true)
	case t.Own == 0 && t.Cast == "":
		return d.value(t, v, row, b)
	case !t.StreamsBinary():
		return fmt.Errorf("the binary form of type %d is none that is read", t.Own)
	}
	switch t.Own {
	case oidMoney:
		if len(b) != 8 {
			return errLength
		}
		cents := int64(binary.BigEndian.Uint64(b))
		*change.At[change.HugeInt](v, row) = change.HugeInt{Lo: uint64(cents), Hi: cents >> 63}
		return nil
	case oidNumeric:
		var err error
		if d.scratch, err = appendNumericText(d.scratch[:0], b); err != nil {
			return err
		}
		b = d.kept.keep(d.scratch)
	case oidJSONB, oidJSONPath:
		if len(b) == 0 || b[0] != 1 {
			return errJSONVersion
		}
		b = b[1:]
	}
	return d.value(t, v, row, b)
}

// putText writes a string as it is.
func (d *Decoder) putText(v *change.Vector, row int, b []byte) error {
	if d.CheckUTF8 && !utf8.Valid(b) {
		return errUTF8
	}
	putBytes(change.At[change.String](v, row), b)
	return nil
}

// arena is memory for the strings of vectors. The vectors' pointers to it are invisible to Go, so it lives by being
// reachable from its Decoder.
type arena struct{ blocks [][]byte }

const arenaBlock = 64 << 10

// alloc makes room for n bytes.
func (a *arena) alloc(n int) []byte {
	if last := len(a.blocks) - 1; last >= 0 {
		if b := a.blocks[last]; cap(b)-len(b) >= n {
			a.blocks[last] = b[:len(b)+n]
			return b[len(b) : len(b)+n : len(b)+n]
		}
	}
	b := make([]byte, n, max(n, arenaBlock))
	a.blocks = append(a.blocks, b)
	return b[:n:n]
}

// keep copies b, unless a String holds it within itself.
func (a *arena) keep(b []byte) []byte {
	if len(b) <= change.InlineMax {
		return b
	}
	k := a.alloc(len(b))
	copy(k, b)
	return k
}

// reset forgets all and keeps the first block when it has the usual size.
func (a *arena) reset() {
	keep := 0
	if len(a.blocks) > 0 && cap(a.blocks[0]) == arenaBlock {
		a.blocks[0], keep = a.blocks[0][:0], 1
	}
	clear(a.blocks[keep:])
	a.blocks = a.blocks[:keep]
}
