package syncer

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/zeebo/xxh3"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/source"
)

// entry is one key of the source within the ranges that differ.
type entry struct {
	hash  xxh3.Uint128
	tuple []byte // nil when the memory for contents is used up
	count int32  // in the source, less those found in the copy
}

// narrow reads the differing ranges of both sides again and counts and names the rows that differ.
func (c *comparison) narrow(ctx context.Context, t *TableVerdict, differ []int) error {
	wanted := make([]bool, c.buckets())
	for _, b := range differ {
		wanted[b] = true
	}
	if !c.ordered || wanted[0] || len(differ) > narrowRanges {
		return c.narrowWithin(ctx, t, source.Range{}, wanted)
	}
	for _, b := range differ {
		one := make([]bool, len(wanted))
		one[b] = true
		if err := c.narrowWithin(ctx, t, c.rangeOf(b), one); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) narrowWithin(ctx context.Context, t *TableVerdict, r source.Range, wanted []bool) error {
	var mu sync.Mutex
	rows := map[string]*entry{}
	held := 0
	err := c.each(ctx, r, func(m *summer, _ int, ch *change.Chunk) error {
		for i := range ch.Rows {
			b, h := m.row(ch, i)
			if !wanted[b] {
				continue
			}
			key := string(m.keyBytes())
			mu.Lock()
			switch e := rows[key]; {
			case e != nil:
				e.count++
			case len(rows) >= narrowRows:
				t.Partial = true
			default:
				e = &entry{hash: h, count: 1}
				if held += len(m.tuple); held <= narrowBytes {
					e.tuple = bytes.Clone(m.tuple)
				}
				rows[key] = e
			}
			mu.Unlock()
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = c.scan(ctx, r, func(m *summer, ch *change.Chunk) {
		for i := range ch.Rows {
			b, h := m.row(ch, i)
			if !wanted[b] {
				continue
			}
			e := rows[string(m.keyBytes())]
			switch {
			case e == nil:
				if t.Partial {
					continue // its key may be one that was not held
				}
				t.Extra++
				c.name(t, "extra", nil, m.tuple)
			case e.count <= 0:
				t.Doubled++
				c.name(t, "doubled", nil, m.tuple)
			case e.hash != h && len(c.part.key) > 0:
				t.Changed++
				c.name(t, "changed", e.tuple, m.tuple)
				e.count--

			default:
				e.count--

			}
		}
	})
	if err != nil {
		return err
	}
	for _, e := range rows {
		if e.count > 0 {
			t.Missing += int64(e.count)
			c.name(t, "missing", e.tuple, nil)
		}
	}
	return nil
}

// name adds a sample: the key, and for a changed row the columns that differ with both values.
func (c *comparison) name(t *TableVerdict, kind string, src, cp []byte) {
	if len(t.Samples) >= samplesMax || src == nil && cp == nil {
		return
	}
	s := Sample{Kind: kind}
	a, b := c.texts(src), c.texts(cp)
	known := a
	if known == nil {
		known = b
	}
	var key []string
	for _, k := range c.key {
		key = append(key, c.part.desc.Columns[k].Name+"="+known[k])
	}
	s.Key = strings.Join(key, ", ")
	if a != nil && b != nil {
		s.Source, s.Copy = map[string]string{}, map[string]string{}
		for i, col := range c.part.desc.Columns {
			if a[i] != b[i] {
				s.Columns = append(s.Columns, col.Name)
				s.Source[col.Name], s.Copy[col.Name] = a[i], b[i]
			}
		}
	}
	t.Samples = append(t.Samples, s)
}

// texts are a tuple's values as PostgreSQL prints them.
func (c *comparison) texts(tuple []byte) []string {
	if tuple == nil {
		return nil
	}
	ch := types.NewChunk(c.types)
	padded := append(bytes.Clone(tuple), make([]byte, types.Slack)...)[:len(tuple)]
	if err := types.NewDecoder(c.types).DecodeRow(ch, 0, padded); err != nil {
		return []string{fmt.Sprint(err)}
	}
	out := make([]string, len(c.types))
	for i := range c.types {
		out[i] = "NULL"
		if v := &ch.Vectors[i]; !v.IsNull(0) {
			out[i] = string(types.AppendText(nil, &c.types[i], v, 0))
		}
	}
	return out
}
