package store

import (
	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/change"
)

// vector is a result column's memory for one chunk.
type vector struct {
	change.Vector
	typ  *resultType
	kids []vector // elements of a list or array; fields of a struct; a map's keys and values; a union's tags, then its members
}

func newVector(t *resultType) vector {
	v := vector{typ: t}
	kids := t.kids
	switch t.id {
	case duck.TypeMap:
		// A map is a list of structs in memory.
		kids = []resultType{{id: duck.TypeStruct, kids: t.kids, names: t.names}}
	case duck.TypeUnion:
		kids = append([]resultType{{id: duck.TypeUTinyInt}}, t.kids...)
	}
	for i := range kids {
		v.kids = append(v.kids, newVector(&kids[i]))
	}
	return v
}

// show points v and what is below it at n rows of d.
func (v *vector) show(d duck.Vector, n int) {
	borrow(&v.Vector, d, n)
	switch v.typ.id {
	case duck.TypeList, duck.TypeMap:
		v.kids[0].show(duck.ListVectorGetChild(d), int(duck.ListVectorGetSize(d)))
	case duck.TypeArray:
		v.kids[0].show(duck.ArrayVectorGetChild(d), n*v.typ.size)
	case duck.TypeStruct, duck.TypeUnion:
		for i := range v.kids {
			v.kids[i].show(duck.StructVectorGetChild(d, duck.IdxT(i)), n)
		}
	}
}

// span is which elements of its child a list, map or array has in row i.
func (v *vector) span(i int) (from, to int) {
	if v.typ.id == duck.TypeArray {
		return i * v.typ.size, (i + 1) * v.typ.size
	}
	e := change.At[change.ListEntry](&v.Vector, i)
	return int(e.Offset), int(e.Offset + e.Length)
}

// member is the set member of a union in row i; nil for a union that is NULL.
func (v *vector) member(i int) *vector {
	if v.kids[0].IsNull(i) {
		return nil
	}
	return &v.kids[1+int(*change.At[byte](&v.kids[0].Vector, i))]
}

// enum is an enum's value in row i.
func (v *vector) enum(i int) string {
	switch v.typ.inner {
	case duck.TypeUTinyInt:
		return v.typ.names[*change.At[uint8](&v.Vector, i)]
	case duck.TypeUSmallInt:
		return v.typ.names[*change.At[uint16](&v.Vector, i)]
	}
	return v.typ.names[*change.At[uint32](&v.Vector, i)]
}

// ResultChunk is up to 2048 rows of a result, in DuckDB's own memory.
type ResultChunk struct {
	n       int
	cols    []vector
	bigText bool
	zone    *zone // of TIMESTAMPTZ in AppendPGText; nil: UTC
}

// Len is how many rows there are.
func (c *ResultChunk) Len() int { return c.n }

// IsNull says whether the value is NULL.
func (c *ResultChunk) IsNull(col, row int) bool { return c.cols[col].IsNull(row) }
