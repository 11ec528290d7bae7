package store

import (
	"encoding/binary"
	"math"

	duck "github.com/duckdb/duckdb-go-bindings"
)

// record says whether the type is a row without names, such as ROW(1, 'a') makes: PostgreSQL's record.
func (r *resultType) record() bool {
	return r.id == duck.TypeStruct && len(r.names) > 0 && r.names[0] == ""
}

func (v *vector) pgRecordText(dst []byte, i int, z *zone) []byte {
	dst = append(dst, '(')
	for k := range v.kids {
		if k > 0 {
			dst = append(dst, ',')
		}
		if v.kids[k].IsNull(i) {
			continue
		}
		at := len(dst)
		dst = quoteField(v.kids[k].pgText(dst, i, z), at)
	}
	return append(dst, ')')
}

// quoteField puts the field at the end of dst, from at on, into quotes where a record needs it; quotes and backslashes are doubled.
func quoteField(dst []byte, at int) []byte {
	needed, doubles := len(dst) == at, 0
	for _, b := range dst[at:] {
		switch b {
		case '"', '\\':
			needed = true
			doubles++
		case '(', ')', ',', ' ', '\t', '\n', '\r', '\v', '\f':
			needed = true
		}
	}
	if !needed {
		return dst
	}
	n := len(dst)
	for range doubles + 2 {
		dst = append(dst, '"')
	}
	to := len(dst) - 1
	for from := n - 1; from >= at; from-- {
		to--
		dst[to] = dst[from]
		if b := dst[from]; b == '"' || b == '\\' {
			to--
			dst[to] = b
		}
	}
	dst[at] = '"'
	return dst
}

func (v *vector) pgRecordBinary(dst []byte, i int) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, uint32(len(v.kids)))
	for k := range v.kids {
		kid := &v.kids[k]
		dst = be.AppendUint32(dst, kid.typ.pgElement())
		if kid.IsNull(i) {
			dst = be.AppendUint32(dst, math.MaxUint32)
			continue
		}
		at := len(dst)
		dst = kid.pgBinary(append(dst, 0, 0, 0, 0), i)
		be.PutUint32(dst[at:], uint32(len(dst)-at-4))
	}
	return dst
}
