package syncer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// claim is what the dataset has on its source: a slot and a publication, both of this name.
type claim struct {
	Slot   string `json:"slot"`
	Source string `json:"source"` // as configured
	// Trigger is the event trigger of schema changes that the source had when the tables were taken up last.
	Trigger uint32 `json:"trigger,omitempty"`
	// Standby says that the source was one when the tables were taken up last.
	Standby bool `json:"standby,omitempty"`
}

// OwnPrefix begins the name of every slot and publication that Pintail makes.
const OwnPrefix = "pintail_"

const claimPrefix = "replica." // in the store's meta, before the dataset's name

// newClaim names slot and publication after the dataset, with a random part: another copy of it, on another machine, has
// another slot. Slots' names have lower case letters, digits and _, 63 bytes at most.
func newClaim(d *config.Dataset) claim {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, d.Name)
	var id [4]byte
	_, _ = rand.Read(id[:])
	return claim{Slot: OwnPrefix + name[:min(len(name), 36)] + "_" + hex.EncodeToString(id[:]), Source: d.Source}
}

const leftPrefix = "released." // in the store's meta, before the name of a slot that is still on its source

// readClaim is what a dataset has; the zero claim is nothing.
func readClaim(ctx context.Context, st *store.Store, dataset string) (claim, error) {
	all, err := readClaims(ctx, st, claimPrefix+dataset)
	return all[claimPrefix+dataset], err
}

// readClaims reads those whose names in the store's meta begin with prefix.
func readClaims(ctx context.Context, st *store.Store, prefix string) (map[string]claim, error) {
	meta, err := st.Meta(ctx, prefix)
	if err != nil {
		return nil, err
	}
	all := make(map[string]claim, len(meta))
	for name, text := range meta {
		var c claim
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			return nil, fault.New(fault.Internal, "", "the file's note %s of a slot is unreadable: %w", name, err)
		}
		all[name] = c
	}
	return all, nil
}

func (c *claim) save(tx *store.Tx, dataset string) error {
	return tx.SetMeta(claimPrefix+dataset, string(toJSON(c)))
}

// claims are the slots that this file's datasets have, by dataset.
func (s *Syncer) claims(ctx context.Context) (map[string]claim, error) {
	found, err := readClaims(ctx, s.store, claimPrefix)
	all := make(map[string]claim, len(found))
	for name, c := range found {
		all[strings.TrimPrefix(name, claimPrefix)] = c
	}
	return all, err
}

// releaseClaim drops slot and publication; the error says what to run on a source that keeps them.
func releaseClaim(ctx context.Context, c claim, src source.Source) error {
	rep, ok := src.(source.Replicator)
	var err error = fault.New(fault.Config, "", "source %s is not configured any more", c.Source)
	if ok {
		if err = rep.DropSlot(ctx, c.Slot); err == nil {
			err = rep.Unpublish(ctx, c.Slot)
		}
	}
	if err == nil {
		return nil
	}
	return fault.New(fault.CodeOf(err), fmt.Sprintf("run on the source, or its log fills the disk: SELECT pg_drop_replication_slot('%s'); DROP PUBLICATION %s", c.Slot, c.Slot),
		"slot and publication %s are left on source %s: %w", c.Slot, c.Source, err)
}
