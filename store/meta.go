package store

import (
	"context"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
)

// formatName is the entry of _pintail.meta that is the store's own: the format version.
const formatName = "format"

// Meta are the small values that were set under names which begin with prefix, by their names.
func (s *Store) Meta(ctx context.Context, prefix string) (map[string]string, error) {
	all := map[string]string{}
	err := s.with(func(se *Session) error {
		return se.query(ctx, "SELECT name, value FROM "+s.state("meta")+" WHERE name <> ? AND starts_with(name, ?)", []any{formatName, prefix}, func(r ownRow) error {
			all[r.text(0)] = r.text(1)
			return nil
		})
	})
	return all, doing(err, "read the values under %q", prefix)
}

// SetMeta keeps a small value in the file. It is updated in place, as a position is.
func (tx *Tx) SetMeta(name, value string) error {
	if err := metaName(name); err != nil {
		return doing(err, "set %q", name)
	}
	n, err := tx.Exec("UPDATE "+tx.s.state("meta")+" SET value = $2 WHERE name = $1", name, value)
	if err == nil && n == 0 {
		_, err = tx.Exec("INSERT INTO "+tx.s.state("meta")+" VALUES ($1, $2)", name, value)
	}
	return doing(err, "set %q", name)
}

// DeleteMeta forgets a value, if it is there.
func (tx *Tx) DeleteMeta(name string) error {
	err := metaName(name)
	if err == nil {
		_, err = tx.Exec("DELETE FROM "+tx.s.state("meta")+" WHERE name = ?", name)
	}
	return doing(err, "forget %q", name)
}

// metaName refuses the store's own names: the format version, and "", which each transaction updates without a row in order to
// hold off checkpoints.
func metaName(name string) error {
	if name == formatName || name == "" || strings.IndexByte(name, 0) >= 0 {
		return fault.New(fault.Internal, "", "%q is no name for a value", name)
	}
	return nil
}
