package store

import (
	"context"
	"fmt"
	"strings"
	"unsafe"

	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
)

// CheckKey proves that the staged rows have no NULL in a key column and no key twice: fault.NullKey and fault.DuplicateKey
// say how many, and name up to three.
func (s *Store) CheckKey(ctx context.Context, st *Staged, key []string) error {
	for _, k := range key {
		if _, err := column(st.cols, k); err != nil {
			return doing(err, "check the key")
		}
	}
	names := strings.Join(key, ", ")
	return s.with(func(se *Session) error {
		nulls := make([]string, len(key))
		for i, k := range key {
			nulls[i] = quote(k) + " IS NULL"
		}
		n, err := se.queryInt(ctx, fmt.Sprintf("SELECT count(*) FROM %s WHERE %s", st.sql, strings.Join(nulls, " OR ")))
		if err != nil {
			return doing(err, "check the key (%s)", names)
		}
		if n > 0 {
			examples, err := se.examples(ctx, fmt.Sprintf("SELECT %s FROM %s WHERE %s LIMIT 3", texts(key), st.sql, strings.Join(nulls, " OR ")), len(key))
			if err != nil {
				return err
			}
			return fault.New(fault.NullKey, "a key must not be NULL: choose other key columns, or leave such rows out with where",
				"key (%s) is NULL in %d of %d rows, such as %s", names, n, st.Rows, examples)
		}
		if proven, err := s.distinct(ctx, st, key); proven || err != nil {
			return doing(err, "check the key (%s)", names)
		}
		k := quoteAll(key, "")
		twice := fmt.Sprintf("SELECT %s, count(*) AS _n FROM %s GROUP BY %s HAVING count(*) > 1", k, st.sql, k)
		if n, err = se.queryInt(ctx, "SELECT count(*) FROM ("+twice+")"); err != nil {
			return doing(err, "check the key (%s)", names)
		}
		if n > 0 {
			examples, err := se.examples(ctx, fmt.Sprintf("SELECT %s FROM (%s) ORDER BY ALL LIMIT 3", texts(key), twice), len(key))
			if err != nil {
				return err
			}
			return fault.New(fault.DuplicateKey, "a key must be unique in what the query returns: add columns to it, or leave it out",
				"key (%s) is there more than once for %d values, such as %s", names, n, examples)
		}
		return nil
	})
}

// bitmapBits bounds the range of integer keys that are checked by a bitmap: 64 MiB.
const bitmapBits = 1 << 29

// distinct proves quickly that a single integer column, without NULLs, has no value twice: 5 M dense keys in 40 ms instead of a second of
// grouping. false proves nothing.
func (s *Store) distinct(ctx context.Context, st *Staged, key []string) (bool, error) {
	if len(key) > 1 || st.Rows == 0 {
		return false, nil
	}
	col, err := column(st.cols, key[0])
	if err != nil {
		return false, err
	}
	switch col.Type.Kind {
	case types.Int16, types.Int32, types.Int64:
	default:
		return false, nil
	}
	var least, most int64
	k := quote(key[0])
	err = s.with(func(se *Session) error {
		return se.query(ctx, fmt.Sprintf("SELECT min(%s)::BIGINT, max(%s)::BIGINT FROM %s", k, k, st.sql), nil, func(r ownRow) error { least, most = r.int(0), r.int(1); return nil })
	})
	span := uint64(most) - uint64(least)
	if err != nil || span >= bitmapBits {
		return false, err
	}
	sc, err := s.Scan(ctx, fmt.Sprintf("SELECT %s::BIGINT FROM %s", k, st.sql), []types.Type{types.Of(20, -1, nil)})
	if err != nil {
		return false, err
	}
	defer sc.Close()
	seen := make([]uint64, span/64+1)
	for {
		c, err := sc.Next()
		if c == nil || err != nil {
			return err == nil, err
		}
		for _, v := range unsafe.Slice((*int64)(c.Vectors[0].Data), c.Rows) {
			at := uint64(v) - uint64(least)
			if seen[at/64]>>(at%64)&1 != 0 {
				return false, nil
			}
			seen[at/64] |= 1 << (at % 64)
		}
	}
}

// texts are the key's values as text, short enough for a message.
func texts(key []string) string {
	q := make([]string, len(key))
	for i, k := range key {
		q[i] = "left(" + quote(k) + "::VARCHAR, 100)"
	}
	return strings.Join(q, ", ")
}

func (se *Session) examples(ctx context.Context, sql string, cols int) (string, error) {
	var rows []string
	err := se.query(ctx, sql, nil, func(r ownRow) error {
		row := make([]string, cols)
		for i := range row {
			if row[i] = r.text(i); r.null(i) {
				row[i] = "NULL"
			}
		}
		rows = append(rows, "("+strings.Join(row, ", ")+")")
		return nil
	})
	return strings.Join(rows, ", "), err
}
