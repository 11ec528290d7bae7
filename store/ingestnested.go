package store

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/change"
)

const (
	// chunkElements is about how many elements of lists a chunk has at most, a single row's list apart.
	chunkElements = 1 << 18
	// elementsMax bounds the lists of a single row: encodings can say more in a few bytes than memory can hold.
	elementsMax = 1 << 26
)

// fit is how many of the n rows from from on go into one chunk.
func (p *putType) fit(a arrow.Array, from, n int) int {
	l, ok := a.(array.ListLike)
	if !ok || p.form == formArray {
		return n
	}
	total := int64(0)
	for i := range n {
		if l.IsValid(from + i) {
			start, end := l.ValueOffsets(from + i)
			total += max(0, end-start)
		}
		if total > chunkElements {
			return max(1, i)
		}
	}
	return n
}

// unfold finds the values behind a dictionary's indexes, or the runs of a run-end encoded array; nil when a is neither.
func unfold(a arrow.Array, s span) (arrow.Array, span, error) {
	switch a := a.(type) {
	case *array.Dictionary:
		values := a.Dictionary()
		pick := make([]int, s.n)
		for i := range pick {
			if pick[i] = s.at(i); pick[i] < 0 || a.IsNull(pick[i]) {
				pick[i] = -1
				continue
			}
			if pick[i] = a.GetValueIndex(pick[i]); pick[i] < 0 || pick[i] >= values.Len() {
				return nil, s, errMalformed
			}
		}
		return values, span{n: s.n, pick: pick}, nil
	case *array.RunEndEncoded:
		pick := make([]int, s.n)
		for i := range pick {
			if pick[i] = s.at(i); pick[i] < 0 {
				continue
			}
			if pick[i] = a.GetPhysicalIndex(pick[i]); pick[i] < 0 || pick[i] >= a.Values().Len() {
				return nil, s, errMalformed
			}
		}
		return a.Values(), span{n: s.n, pick: pick}, nil
	}
	return nil, s, nil
}

// masked is s with -1 for rows that are NULL, so that what lies in them is NULL as well: DuckDB looks into a NULL struct.
func masked(a arrow.Array, s span) span {
	pick := make([]int, s.n)
	for i := range pick {
		if pick[i] = s.at(i); pick[i] >= 0 && a.IsNull(pick[i]) {
			pick[i] = -1
		}
	}
	return span{n: s.n, pick: pick}
}

// elements are the elements from start to end of a list's child, as a client says.
func elements(child arrow.Array, start, end int64) (from, n int, err error) {
	if start < 0 || end < start || end > int64(child.Len()) {
		return 0, 0, errMalformed
	}
	return int(start), int(end - start), nil
}

func (p *putType) array(v duck.Vector, a arrow.Array, s span) error {
	l, ok := a.(*array.FixedSizeList)
	if !ok {
		return errMalformed
	}
	child, kid := l.ListValues(), span{n: s.n * p.size}
	if s.pick == nil {
		start, _ := l.ValueOffsets(s.from)
		_, end := l.ValueOffsets(s.from + s.n - 1)
		from, n, err := elements(child, start, end)
		if err != nil || n != kid.n {
			return errMalformed
		}
		kid.from = from
	} else {
		kid.pick = make([]int, 0, kid.n)
		for _, j := range s.pick {
			from := -1
			if j >= 0 {
				var n int
				var err error
				start, end := l.ValueOffsets(j)
				if from, n, err = elements(child, start, end); err != nil || n != p.size {
					return errMalformed
				}
			}
			for k := range p.size {
				if from < 0 {
					kid.pick = append(kid.pick, -1)
				} else {
					kid.pick = append(kid.pick, from+k)
				}
			}
		}
	}
	return p.nested[0].fill(duck.ArrayVectorGetChild(v), child, kid)
}

func (p *putType) list(v duck.Vector, a arrow.Array, s span) error {
	l, ok := a.(array.ListLike)
	if !ok {
		return errMalformed
	}
	child := l.ListValues()
	entries := values[change.ListEntry](v, s.n)
	total, first, together := 0, 0, true
	for i := range entries {
		entries[i] = change.ListEntry{Offset: uint64(total)}
		j := s.at(i)
		if j < 0 || a.IsNull(j) {
			continue
		}
		start, end := l.ValueOffsets(j)
		from, n, err := elements(child, start, end)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		if total == 0 {
			first = from
		}
		together = together && from == first+total
		entries[i].Length = uint64(n)
		if total += n; total > elementsMax {
			return errHuge
		}
	}
	kid := span{from: first, n: total}
	if !together {
		kid.pick = make([]int, 0, total)
		for i := range entries {
			if entries[i].Length == 0 {
				continue
			}
			start, end := l.ValueOffsets(s.at(i))
			for k := start; k < end; k++ {
				kid.pick = append(kid.pick, int(k))
			}
		}
	}
	if duck.ListVectorReserve(v, duck.IdxT(total)) == duck.StateError || duck.ListVectorSetSize(v, duck.IdxT(total)) == duck.StateError {
		return fmt.Errorf("no memory for a list vector of %d elements", total)
	}
	into := duck.ListVectorGetChild(v)
	if p.form == formList {
		return p.nested[0].fill(into, child, kid)
	}
	pairs, ok := child.(*array.Struct)
	if !ok || pairs.NumField() != 2 || pairs.Len() < kid.from+kid.n && kid.pick == nil {
		return errMalformed
	}
	if err := distinctKeys(pairs.Field(0), entries, kid); err != nil {
		return err
	}
	for k := range 2 {
		if err := p.nested[k].fill(duck.StructVectorGetChild(into, duck.IdxT(k)), pairs.Field(k), kid); err != nil {
			return err
		}
	}
	return nil
}

// distinctKeys proves of maps what DuckDB takes for granted: no key is NULL, and none is there twice.
func distinctKeys(keys arrow.Array, maps []change.ListEntry, s span) error {
	key := keys.ValueStr
	if at := bytesOf(keys); at != nil {
		key = func(i int) string { b := at(i); return unsafe.String(unsafe.SliceData(b), len(b)) }
	}
	seen := map[string]struct{}{}
	for _, m := range maps {
		clear(seen)
		for k := m.Offset; k < m.Offset+m.Length; k++ {
			i := s.at(int(k))
			if i >= keys.Len() {
				return errMalformed
			}
			if keys.IsNull(i) {
				return errors.New("a key of a map is NULL")
			}
			if m.Length > 1 {
				seen[key(i)] = struct{}{}
			}
		}
		if m.Length > 1 && len(seen) != int(m.Length) {
			return errors.New("a map has a key twice")
		}
	}
	return nil
}
