package store

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
)

// history makes random changes of a table and keeps what they should lead to.
type history struct {
	r       *rand.Rand
	cols    []Column
	keys    int // the first columns
	ids     int64
	model   map[string][][]byte
	touched [][][]byte // keys that earlier parts had, the newest last
	n       int
}

// The key's second column is NULL in every seventh row; body and more are the columns that may come without a value.
var (
	historyKey       = []string{"id", "k2"}
	historyUnchanged = []int{3, 4}
)

func newHistory(r *rand.Rand, rows int) *history {
	h := &history{r: r, keys: 2, ids: int64(rows) * 5 / 4, model: make(map[string][][]byte, rows),
		cols: []Column{col("id", oidInt8, -1), col("k2", oidText, -1), col("n", oidInt8, -1), col("body", oidText, -1), col("more", oidText, -1)}}
	for i := range rows {
		row := h.row(int64(i))
		h.model[h.id(row)] = row
	}
	return h
}

func (h *history) id(row [][]byte) string { return string(appendRow(nil, row[:h.keys])) }

func (h *history) row(id int64) [][]byte {
	h.n++
	row := [][]byte{i64(id), txt("k"), i64(int64(h.n)), fmt.Appendf(nil, "body %d of %d", h.n, id), nil}
	if id%7 == 0 {
		row[1] = nil
	}
	if h.n%3 > 0 {
		row[4] = fmt.Appendf(nil, "more of %d", h.n)
	}
	return row
}

// feed gives the table as it is.
func (h *history) feed() *fakeFeed {
	var rows [][][]byte
	for _, row := range h.model {
		rows = append(rows, row)
	}
	return rowsOf(h.cols, rows...)
}

// part makes up to n changes, one of a key, many of them of keys that were touched before. without is how many of a hundred upserts
// come without values. grown is by how much the table grows.
func (h *history) part(n, without int, truncate bool) (ops []opRow, grown int64) {
	grown = -int64(len(h.model))
	if truncate {
		clear(h.model)
	}
	seen := map[string]bool{}
	for range n {
		row := h.row(h.r.Int64N(h.ids))
		if k := len(h.touched); k > 0 && h.r.IntN(2) == 0 {
			copy(row, h.touched[k-1-h.r.IntN(min(k, 3*n))])
		}
		id := h.id(row)
		if seen[id] {
			continue
		}
		seen[id] = true
		was, there := h.model[id]
		op := opRow{op: change.OpUpsert, row: append([][]byte{}, row...)}
		switch {
		case h.r.IntN(4) == 0:
			op.op = change.OpDelete
			delete(h.model, id)
		case !there && h.r.IntN(3) > 0:
			op.op = change.OpInsert
			h.model[id] = row
		default:
			for _, u := range historyUnchanged {
				if there && h.r.IntN(100) < without {
					op.without = append(op.without, u)
					op.row[u], row[u] = nil, was[u]
				}
			}
			h.model[id] = row
		}
		ops = append(ops, op)
	}
	for _, op := range ops {
		h.touched = append(h.touched, op.row[:h.keys])
	}
	return ops, grown + int64(len(h.model))
}

// stageParts stages the parts of one transaction, each with what it makes the table grow by.
func (h *history) stageParts(t *testing.T, s *Store, target string, truncates bool) (parts []Changes, grown []int64) {
	t.Helper()
	for range 2 + h.r.IntN(4) {
		truncate := truncates && h.r.IntN(4) == 0
		ops, n := h.part([]int{0, 5, 200, 5000}[h.r.IntN(4)], []int{0, 10, 35, 90}[h.r.IntN(4)], truncate)
		c := stageOps(t, s, target, historyKey, opsOf(h.cols, historyUnchanged, ops...))
		c.Truncate, c.Prove = truncate, h.r.IntN(2) == 0
		parts, grown = append(parts, c), append(grown, n)
	}
	return parts, grown
}

// A large transaction comes in parts, each of which meets what those before it did in the same transaction: rows that are not
// committed yet, of which DuckDB keeps count apart from the others.
func TestPartsOfOneTransaction(t *testing.T) {
	ctx := context.Background()
	seed := rand.Uint64()
	t.Log("seed", seed)
	s := openTest(t, Options{})
	// So many rows that unchanged values are looked up in more than one piece.
	const rows = (pieceRows + 20) * 2 * vectorRows
	h := newHistory(rand.New(rand.NewPCG(seed, 0)), rows)
	load(t, s, "t", h.feed())
	const rounds = 16
	for round := range rounds {
		before, touched := h.model, len(h.touched)
		stop := h.r.IntN(5) == 0
		if stop {
			h.model = maps.Clone(before)
		}
		// Once truncated the table is small, so that comes last.
		parts, grown := h.stageParts(t, s, "t", round > rounds/2)
		err := s.Commit(ctx, func(tx *Tx) error {
			for i, c := range parts {
				ins, upd, del, err := tx.Apply(c)
				if err != nil {
					return fmt.Errorf("part %d: %w", i, err)
				}
				if ins-del != grown[i] || upd < 0 {
					t.Errorf("round %d, part %d: %d inserted, %d updated, %d deleted, should grow by %d", round, i, ins, upd, del, grown[i])
				}
			}
			if stop {
				return fault.New(fault.Cancelled, "", "stop")
			}
			return nil
		})
		if stop != (err != nil) {
			t.Fatalf("round %d: %v", round, err)
		}
		if stop {
			h.model, h.touched = before, h.touched[:touched]
		}
		if len(h.model) < rows/4 || round%4 == 3 {
			compare(t, s, "t", h.cols, h.keys, h.model)
		}
		if h.r.IntN(4) == 0 {
			if err := s.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	compare(t, s, "t", h.cols, h.keys, h.model)
}
