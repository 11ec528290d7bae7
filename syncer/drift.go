package syncer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// shape is what is remembered of a table's source, to notice when it changes.
type shape struct {
	Columns []fingerprint     `json:"columns"`
	Facts   map[string]string `json:"facts,omitempty"`
}

type fingerprint struct {
	Name    string     `json:"name"`
	Type    types.Type `json:"type"`
	Table   uint32     `json:"table,omitempty"`
	Attnum  uint16     `json:"attnum,omitempty"`
	TypeOID uint32     `json:"type_oid,omitempty"`
	Typmod  int32      `json:"typmod,omitempty"`
}

func fingerprints(d *source.Description) []fingerprint {
	fs := make([]fingerprint, len(d.Columns))
	for i, c := range d.Columns {
		fs[i] = fingerprint{c.Name, c.Type, c.Table, c.Attnum, c.TypeOID, c.Typmod}
	}
	return fs
}

// changes are what another value of a fact means for the rows of before, by the fact's first word.
var changes = map[string]string{
	source.FactServer:   "the source is another server or database than before",
	source.FactTimeline: "the source's server was restored or replaced by its standby",
	source.FactLSN:      "the source's server was set back to an earlier state",
	"file":              "a table was rewritten in the source (ALTER TABLE, TRUNCATE, VACUUM FULL or CLUSTER)",
	"relation":          "a table was rewritten in the source (ALTER TABLE, TRUNCATE, VACUUM FULL or CLUSTER)",
	"view":              "a view was defined anew in the source",
	"label":             "a label of an enum was renamed in the source",
	"attributes":        "a composite type was changed in the source",
}

// outdated says why rows that no increment reads may be other rows by now; "" when they are not.
func (s *shape) outdated(now *source.Description) string {
	for _, fact := range slices.Sorted(maps.Keys(now.Facts)) {
		kind, _, _ := strings.Cut(fact, " ")
		value := now.Facts[fact]
		switch old, known := s.Facts[fact]; {
		case !known && kind == "relation" && now.Filled[fact]:
			return "a partition or child table that has rows was added in the source"
		case !known || old == value:
		case fact == source.FactLSN:
			then, err1 := change.ParseLSN(old)
			if at, err2 := change.ParseLSN(value); err1 == nil && err2 == nil && at >= then {
				continue
			}
			return changes[fact]
		default:
			return changes[kind]
		}
	}
	return ""
}

// drift is how the source's columns changed since the last run: steps that the table can follow in place, or the reason why
// it has to be rebuilt.
type drift struct {
	rename  [][2]string // from, to
	drop    []string
	add     []string
	widen   []string
	rebuild string
}

func (d *drift) any() bool { return len(d.rename)+len(d.drop)+len(d.add)+len(d.widen) > 0 }

// compare finds the steps from old to new. A column that was added is a reason to rebuild, since its values in old rows may
// come from a default or an update that no watermark shows.
func compare(old, now []fingerprint) drift {
	var d drift
	find := func(fs []fingerprint, match func(fingerprint) bool) *fingerprint {
		if i := slices.IndexFunc(fs, match); i >= 0 {
			return &fs[i]
		}
		return nil
	}
	gone := map[string]bool{}
	for _, o := range old {
		if find(now, func(n fingerprint) bool { return n.Name == o.Name }) == nil {
			gone[o.Name] = true
		}
	}
	for _, n := range now {
		o := find(old, func(o fingerprint) bool { return o.Name == n.Name })
		if o == nil {
			// The same attribute of the same table under another name is a rename.
			o = find(old, func(o fingerprint) bool {
				return n.Table != 0 && o.Table == n.Table && o.Attnum == n.Attnum && gone[o.Name]
			})
			if o == nil {
				d.rebuild = fmt.Sprintf("column %q was added in the source", n.Name)
				return d
			}
			delete(gone, o.Name)
			d.rename = append(d.rename, [2]string{o.Name, n.Name})
		} else if o.Table == n.Table && o.Attnum != n.Attnum {
			d.rebuild = fmt.Sprintf("column %q was dropped and made again in the source", n.Name)
			return d
		} else if o.Table != n.Table {
			d.rebuild = fmt.Sprintf("column %q comes from another table than before", n.Name)
			return d
		}
		switch {
		case sameType(&o.Type, &n.Type):
		case widens(&o.Type, &n.Type):
			d.widen = append(d.widen, n.Name)
		default:
			d.rebuild = fmt.Sprintf("column %q changed its type from %s to %s", n.Name, o.Type.SQL, n.Type.SQL)
			return d
		}
	}
	for _, o := range old {
		if gone[o.Name] {
			d.drop = append(d.drop, o.Name)
		}
	}
	return d
}

func sameType(a, b *types.Type) bool {
	if (a.Elem == nil) != (b.Elem == nil) || a.Elem != nil && !sameType(a.Elem, b.Elem) {
		return false
	}
	// A domain, enum or other type read as text stays text whatever its OID; a change between them changes no value's text.
	return a.SQL == b.SQL && (a.OID == b.OID || a.Kind == types.Text) && (a.Typmod == b.Typmod || !shaped(a) && !shaped(b))
}

// shaped says whether the type's modifier shapes the values themselves: blanks of char(n), digits of a second. With another
// one, old rows are others too.
func shaped(t *types.Type) bool {
	const bpchar = 1042
	switch t.Kind {
	case types.Time, types.TimeTZ, types.Timestamp, types.TimestampTZ, types.Interval:
		return true
	}
	return t.OID == bpchar
}

// widens says whether every value of a is the same value of b, so that DuckDB's own conversion is exact.
func widens(a, b *types.Type) bool {
	integers := map[types.Kind]int{types.Int16: 1, types.Int32: 2, types.Int64: 3}
	if x, y := integers[a.Kind], integers[b.Kind]; x > 0 && y > 0 {
		return x < y
	}
	if isDecimal(a.Kind) && isDecimal(b.Kind) {
		return b.Scale >= a.Scale && b.Width-b.Scale >= a.Width-a.Scale
	}
	return false
}

func isDecimal(k types.Kind) bool { return k >= types.Decimal16 && k <= types.Decimal128 }

// follow changes the tables' columns as the source's changed, and the view over them, in one transaction: readers never
// find a view whose columns are gone. It is committed before any row is written: DuckDB cannot mix it with deletes and
// inserts. The watermarks go with it, so that a crash right after leaves tables that the next run rebuilds.
func (s *Syncer) follow(ctx context.Context, d *config.Dataset, parts []*part) error {
	var drifted []*part
	for _, p := range parts {
		if !p.full && p.drift.any() {
			s.log.Info("the source's columns changed", "table", p.cfg.Target, "renamed", p.drift.rename, "dropped", p.drift.drop, "added", p.drift.add, "widened", p.drift.widen)
			drifted = append(drifted, p)
		}
	}
	if drifted == nil {
		return nil
	}
	err := s.store.Commit(ctx, func(tx *store.Tx) error {
		for _, p := range drifted {
			if err := p.follow(tx); err != nil {
				return fault.Wrap(err, "table %s", p.cfg.Target)
			}
		}
		if d.ViewName == "" {
			return nil
		}
		sql, err := viewSQL(d, parts)
		if err != nil {
			return err
		}
		return makeView(tx, d, sql)
	})
	switch code := fault.CodeOf(err); {
	case code == fault.Internal, code == fault.DataMismatch,
		code == fault.Config && slices.ContainsFunc(parts, func(p *part) bool { return p.full }): // the view may wait for a column of these
		err = fault.New(fault.ShapeMismatch, "", "%w", err) // which a rebuild mends
	}
	return fault.Wrap(err, "following the source's columns")
}

func (p *part) follow(tx *store.Tx) error {
	cols := p.columns()
	column := func(name string) store.Column {
		return cols[slices.IndexFunc(cols, func(c store.Column) bool { return c.Name == name })]
	}
	target := p.cfg.Target
	for _, r := range p.drift.rename {
		if err := tx.RenameColumn(target, r[0], r[1]); err != nil {
			return err
		}
	}
	for _, c := range p.drift.drop {
		if err := tx.DropColumn(target, c); err != nil {
			return err
		}
	}
	for _, c := range p.drift.add {
		if err := tx.AddColumn(target, column(c)); err != nil {
			return err
		}
	}
	for _, c := range p.drift.widen {
		if err := tx.AlterType(target, column(c)); err != nil {
			return err
		}
	}
	return tx.SetWatermark(target, nil)
}

// describeValue says in which column a value did not fit, by name.
func describeValue(err error, d *source.Description) error {
	var de *types.DecodeError
	if errors.As(err, &de) && de.Column < len(d.Columns) {
		return fmt.Errorf("column %s (%s): %w", d.Columns[de.Column].Name, d.Columns[de.Column].PGType, de.Err)
	}
	return err
}
