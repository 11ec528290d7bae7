package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"
	"unsafe"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
)

// arenaBytes is a block of an arena; a larger piece gets a block of its own.
const arenaBytes = 1 << 20

// arena keeps the bytes of a batch. DuckDB's vectors point at them, which keeps nothing alive: the batch does.
type arena struct {
	blocks [][]byte
	used   int    // of the last block
	size   int    // bytes in use
	given  []byte // a row of which the memory is for the arena, if it is kept
}

// copy puts the parts one behind the other.
func (a *arena) copy(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	a.size += n
	if len(a.blocks) == 0 || a.used+n+types.Slack > len(a.blocks[len(a.blocks)-1]) {
		a.blocks, a.used = append(a.blocks, make([]byte, max(arenaBytes, n+types.Slack))), 0
	}
	block := a.blocks[len(a.blocks)-1]
	b := block[a.used : a.used : a.used+n]
	for _, p := range parts {
		b = append(b, p...)
	}
	a.used += n
	return b
}

// keep is copy of one part, but for a row that was given.
func (a *arena) keep(row []byte) []byte {
	if a.given == nil || unsafe.SliceData(row) != unsafe.SliceData(a.given) {
		return a.copy(row)
	}
	a.given = nil
	a.add(row)
	return row
}

// add takes over a block that is in use from front to back.
func (a *arena) add(block []byte) {
	a.size += len(block)
	a.blocks = append(a.blocks, block)
	if last := len(a.blocks) - 1; last > 0 {
		a.blocks[last-1], a.blocks[last] = block, a.blocks[last-1]
	} else {
		a.used = len(block)
	}
}

// hugeBytes is a block whose memory is given back at once: the garbage collector would wait until as much again is in use.
const hugeBytes = 64 << 20

// reset forgets all bytes and keeps the first block. huge says that there was a block of hugeBytes.
func (a *arena) reset() (huge bool) {
	huge = slices.ContainsFunc(a.blocks, func(b []byte) bool { return len(b) >= hugeBytes })
	if len(a.blocks) > 0 && len(a.blocks[0]) == arenaBytes {
		clear(a.blocks[1:])
		a.blocks = a.blocks[:1]
	} else {
		a.blocks = nil
	}
	a.used, a.size = 0, 0
	return huge
}

// entry is what remains of a batch's changes of one key; with versions, of one transaction's.
type entry struct {
	key   []byte    // the key's fields as they lie in a tuple
	row   tupleData // the last image; nil after a delete. Without a key the fields of key are the row
	hash  uint64
	tx    uint32 // the last transaction that changed it: its place in gathered.stamps
	count int32  // without a key: by how much the number of such rows changes
	base  bool   // the copy may have a row of this key

	partial bool // row lacks values that were not sent
	dead    bool // row was deleted after that; only where deletes are soft
}

// tableChanges gathers what a batch does to one table, one entry a key. A key is told by its bytes: PostgreSQL sends the
// old key whenever an update changes a bit of it.
type tableChanges struct {
	columns  int   // of the stream's tuples
	keys     []int // the key's columns; without a key all that are copied
	keyless  bool
	keep     change.Keep
	tx       uint32 // the transaction that changes come of
	cleared  uint32 // that truncated first
	memory   *arena
	seed     maphash.Seed
	entries  []entry
	slots    []uint32 // of the hash table: number of an entry + 1
	truncate bool

	inserts, updates, removals int64

	key     []byte
	scratch [2][]byte // of rows put together, in turn: one may be made of the other
}

// apply takes one change in. An error means that the stream does not fit what is known of the table.
func (t *tableChanges) apply(r *rowMessage) error {
	if (r.new != nil && r.new.columns() != t.columns) || (r.old != nil && r.old.columns() != t.columns) {
		return fmt.Errorf("%w: a row of another number of columns than its relation", errProtocol)
	}
	if t.keyless {
		return t.applyKeyless(r)
	}
	switch r.kind {
	case 'I':
		t.inserts++
		if err := t.keyOf(r.new, nil); err != nil {
			return err
		}
		t.put(r.new)
	case 'D':
		t.removals++
		if err := t.keyOf(r.old, nil); err != nil {
			return err
		}
		t.remove()
	case 'U':
		t.updates++
		row := r.new
		switch {
		case r.oldKind == 'O':
			row = t.fill(row, r.old)
		case r.old != nil: // has the key only
			row = t.fillOf(row, r.old, t.keys)
		}
		if err := t.keyOf(row, r.old); err != nil {
			return err
		}
		if r.old == nil {
			return t.replace(row)
		}
		now := append([]byte(nil), t.key...)
		if err := t.keyOf(r.old, nil); err != nil {
			return err
		}
		if bytes.Equal(now, t.key) {
			return t.replace(row)
		}
		// The row moves to another key, and takes along what the stream does not repeat.
		if e := t.find(); e != nil && e.row != nil {
			row = t.fill(row, e.row)
		}
		t.remove()
		if err := t.keyOf(row, r.old); err != nil {
			return err
		}
		if unsent(row) {
			return errMoved
		}
		t.put(row)
	}
	return nil
}

// applyKeyless takes one change of a table without a key in. One event means one of the rows that are equal to its old
// row, so the number of each different row is what counts.
func (t *tableChanges) applyKeyless(r *rowMessage) error {
	if r.kind != 'I' && r.oldKind != 'O' {
		return errIdentity
	}
	if r.kind != 'I' {
		if err := t.keyOf(r.old, nil); err != nil {
			return err
		}
		t.tally(-1)
	}
	switch r.kind {
	case 'I':
		t.inserts++
	case 'D':
		t.removals++
		return nil
	case 'U':
		t.updates++
	}
	if err := t.keyOf(r.new, r.old); err != nil {
		return err
	}
	t.tally(1)
	return nil
}

// tally changes the number of rows that t.key is the whole of.
func (t *tableChanges) tally(by int32) {
	e := t.find()
	if e == nil || t.older(e) {
		e = t.add()
	}
	e.count, e.tx = e.count+by, t.tx
}

// giveUp is why a table cannot be followed any further.
type giveUp string

func (g giveUp) Error() string { return string(g) }

// errMoved is an update that changes the key of a row and does not send its large values again, which then only the copy
// has, under the old key.
const errMoved = giveUp("the key changed of a row whose large values are not sent again")

const errIdentity = giveUp("it has no key, and its replica identity is not FULL any more")

func unsent(t tupleData) bool {
	at := 2
	var f field
	for range t.columns() {
		if f, at = t.next(at); f.kind == 'u' {
			return true
		}
	}
	return false
}

// keyOf sets t.key to the key's fields in row; one that was not sent is taken from old.
func (t *tableChanges) keyOf(row, old tupleData) error {
	t.key = t.key[:0]
	at, k := 2, 0
	for i := 0; k < len(t.keys); i++ {
		begin := at
		var f field
		f, at = row.next(at)
		if i != t.keys[k] {
			continue
		}
		k++
		switch f.kind {
		case 'u':
			if old == nil {
				return fmt.Errorf("%w: a row without its key", errProtocol)
			}
			from, end := old.at(i)
			t.key = append(t.key, old[from:end]...)
		default:
			t.key = append(t.key, row[begin:at]...)
		}
	}
	return nil
}

// at is where column i's field lies.
func (t tupleData) at(i int) (begin, end int) {
	end = 2
	for range i + 1 {
		begin = end
		_, end = t.next(begin)
	}
	return begin, end
}

// fill is row with the values that were not sent taken from an earlier image.
func (t *tableChanges) fill(row, from tupleData) tupleData { return t.fillOf(row, from, nil) }

// fillOf is fill of some columns; nil is all.
func (t *tableChanges) fillOf(row, from tupleData, columns []int) tupleData {
	if !unsent(row) {
		return row
	}
	b := append(t.scratch[0][:0], row[:2]...)
	at, other := 2, 2
	for i := range row.columns() {
		begin, otherBegin := at, other
		var f field
		f, at = row.next(at)
		_, other = from.next(other)
		if f.kind == 'u' && (columns == nil || slices.Contains(columns, i)) {
			b = append(b, from[otherBegin:other]...)
		} else {
			b = append(b, row[begin:at]...)
		}
	}
	t.scratch[0], t.scratch[1] = t.scratch[1], b
	return tupleData(b)
}

// find is the entry of t.key, or nil.
func (t *tableChanges) find() *entry {
	if len(t.slots) == 0 {
		return nil
	}
	h := maphash.Bytes(t.seed, t.key)
	for i := h; ; i++ {
		n := t.slots[i&uint64(len(t.slots)-1)]
		if n == 0 {
			return nil
		}
		if e := &t.entries[n-1]; e.hash == h && bytes.Equal(e.key, t.key) {
			return e
		}
	}
}

// add makes the entry of t.key.
func (t *tableChanges) add() *entry {
	if 2*len(t.entries) >= len(t.slots) {
		t.slots = make([]uint32, max(64, 2*len(t.slots)))
		for i := range t.entries {
			t.place(t.entries[i].hash, uint32(i+1))
		}
	}
	h := maphash.Bytes(t.seed, t.key)
	key := t.key
	if len(key) > arenaBytes {
		t.memory.add(key)
		t.key = nil
	} else {
		key = t.memory.copy(key)
	}
	t.entries = append(t.entries, entry{key: key, hash: h})
	t.place(h, uint32(len(t.entries)))
	return &t.entries[len(t.entries)-1]
}

// place has find give entry n. With versions it takes the place of the key's entry of before.
func (t *tableChanges) place(h uint64, n uint32) {
	versions := t.versions()
	i := h
	for ; ; i++ {
		there := t.slots[i&uint64(len(t.slots)-1)]
		if there == 0 {
			break
		}
		if e := &t.entries[there-1]; versions && e.hash == h && bytes.Equal(e.key, t.entries[n-1].key) {
			break
		}
	}
	t.slots[i&uint64(len(t.slots)-1)] = n
}

// versions says whether each transaction's changes of a row are kept apart.
func (t *tableChanges) versions() bool { return t.keep.Deletes == change.DeletesHistory }

// older says whether an entry is another transaction's, to which nothing is added any more.
func (t *tableChanges) older(e *entry) bool { return e.tx != t.tx && t.versions() }

// put is a row that had not been there, under t.key.
func (t *tableChanges) put(row tupleData) {
	e := t.find()
	if e == nil || t.older(e) {
		e = t.add()
	}
	e.row, e.partial, e.dead, e.tx = t.memory.keep(row), false, false, t.tx
}

// replace is another image of a row that is there.
func (t *tableChanges) replace(row tupleData) error {
	e := t.find()
	if e != nil && e.row != nil {
		row = t.fill(row, e.row)
	}
	switch {
	case e == nil:
		e = t.add()
		e.base = !t.truncate
	case t.older(e):
		// What the row before it lacks is in the copy, for this one too.
		e = t.add()
		e.base = true
	}
	e.row, e.partial, e.tx = t.memory.keep(row), unsent(row), t.tx
	return nil
}

func (t *tableChanges) remove() {
	e := t.find()
	switch {
	case e == nil:
		e = t.add()
		e.base = !t.truncate
	case t.older(e):
		e = t.add()
		e.base = true
	}
	e.tx = t.tx
	if t.keep.Deletes == change.DeletesSoft && e.row != nil {
		e.dead = true
		return
	}
	e.row = nil
}

// clear is a TRUNCATE: what was there before is gone, in the copy too. Where the copy keeps what is gone, there must be no
// entries.
func (t *tableChanges) clear() {
	if !t.truncate {
		t.cleared = t.tx
	}
	clear(t.entries)
	t.entries, t.truncate = t.entries[:0], true
	clear(t.slots)
}

// entriesKept is how many entries' room a table keeps for the next batch.
const entriesKept = 1 << 14

func (t *tableChanges) reset() {
	if cap(t.entries) > entriesKept {
		t.entries, t.slots = nil, nil
	}
	if cap(t.scratch[0])+cap(t.scratch[1]) > arenaBytes {
		t.scratch = [2][]byte{}
	}
	if cap(t.key) > arenaBytes {
		t.key = nil
	}
	clear(t.entries) // or it keeps the arena's blocks
	t.entries, t.truncate, t.inserts, t.updates, t.removals = t.entries[:0], false, 0, 0, 0
	clear(t.slots)
}

// op is what an entry does to the copy; 0 is nothing.
func (e *entry) op() change.Op {
	switch {
	case e.row == nil && e.base:
		return change.OpDelete
	case e.row == nil:
		return 0
	case e.base:
		return change.OpUpsert
	}
	return change.OpInsert
}

// opOf is likewise, in any table.
func (t *tableChanges) opOf(e *entry) change.Op {
	switch {
	case t.keyless && e.count > 0:
		return change.OpInsert
	case t.keyless && e.count < 0:
		return change.OpDelete
	case t.keyless:
		return 0
	case t.keep.Deletes != change.DeletesSoft:
		return e.op()
	case e.row == nil:
		return change.OpDelete
	case e.dead:
		return change.OpBury
	}
	return change.OpUpsert
}

// unchanged marks in seen the columns that an entry's row does not have.
func (e *entry) unchanged(seen []bool) {
	at := 2
	var f field
	for i := range seen {
		if f, at = e.row.next(at); f.kind == 'u' {
			seen[i] = true
		}
	}
}

// nextKey cuts one of the key's fields, as entries keep them.
func nextKey(key []byte) (field, []byte) {
	if key[0] == 'n' {
		return field{kind: 'n'}, key[1:]
	}
	n := int(binary.BigEndian.Uint32(key[1:]))
	return field{key[0], key[5 : 5+n : 5+n]}, key[5+n:]
}
