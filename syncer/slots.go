package syncer

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/store"
)

// Slot is a replication slot that some Pintail has made in the database of a source.
type Slot struct {
	Source, Name string
	Dataset      string // of this file, whose slot it is; "" when another file's Pintail has made it
	Followed     bool   // that dataset is configured, and not paused
	Active       bool
	PID          int // of the process of the server that serves it
	// Confirmed is how far the changes were taken, Restart from where on the log is kept for it.
	Confirmed, Restart      change.LSN
	LagBytes, RetainedBytes int64
	WALStatus               string // reserved | extended | unreserved | lost
	SafeBytes               int64  // that may still be written before it is lost; -1 is without bound
}

// sideSlot ends the name of the temporary slot under which tables are copied beside the stream.
const sideSlot = "_copy"

// owner is the dataset that a slot belongs to; "" is none of this file.
func owner(claims map[string]claim, slot string) string {
	for dataset, c := range claims {
		if slot == c.Slot || slot == c.Slot+sideSlot {
			return dataset
		}
	}
	return ""
}

// Slots lists what Pintail has in the databases of the configured sources, by source and name. failed says why a source could not
// be asked, by its name.
func (s *Syncer) Slots(ctx context.Context) (slots []Slot, failed map[string]error, err error) {
	claims, err := s.claims(ctx)
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	sources := s.sources
	s.mu.Unlock()
	failed = map[string]error{}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		found, err := s.slotsOf(ctx, name, sources[name], claims, OwnPrefix)
		if err != nil {
			failed[name] = err
		}
		slots = append(slots, found...)
	}
	return slots, failed, ctx.Err()
}

func (s *Syncer) slotsOf(ctx context.Context, name string, src source.Source, claims map[string]claim, prefix string) (slots []Slot, err error) {
	rep, ok := src.(source.Replicator)
	if !ok {
		return nil, nil
	}
	found, err := rep.Slots(ctx, prefix)
	for _, f := range found {
		sl := Slot{Source: name, Name: f.Name, Dataset: owner(claims, f.Name), Active: f.Active, PID: f.PID, Confirmed: f.Confirmed, Restart: f.Restart,
			LagBytes: f.LagBytes(), RetainedBytes: retained(&f), WALStatus: f.WALStatus, SafeBytes: f.SafeBytes}
		sl.Followed = sl.Dataset != "" && s.follows(sl.Dataset, claims[sl.Dataset])
		slots = append(slots, sl)
	}
	return slots, err
}

// retained is how much log a slot keeps from being removed.
func retained(sl *source.SlotState) int64 {
	if sl.Restart == 0 {
		return 0 // a lost one keeps nothing
	}
	return max(0, int64(sl.Current)-int64(sl.Restart))
}

// follows says whether a dataset is configured to follow by this slot, and is not paused: now, or as soon as a server runs.
func (s *Syncer) follows(dataset string, c claim) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.cfg.Datasets[dataset]
	return d != nil && d.Form == config.FormCDC && d.Source == c.Source && !s.paused[dataset]
}

// DropSlot drops a slot that a Pintail has made, and the publication of the same name. With sourceName "" it is looked for in
// all sources. One that a dataset follows, or that is in use elsewhere, is dropped only with force: then everything of its
// dataset has to be copied anew.
func (s *Syncer) DropSlot(ctx context.Context, sourceName, slot string, force bool) (Slot, error) {
	if !strings.HasPrefix(slot, OwnPrefix) {
		return Slot{}, fault.New(fault.Usage, "drop it on the source: SELECT pg_drop_replication_slot(…)", "slot %q is none of Pintail's: their names begin with %s", slot, OwnPrefix)
	}
	found, src, err := s.findSlot(ctx, sourceName, slot)
	if err != nil {
		return Slot{}, err
	}
	switch {
	case force:
	case found.Followed:
		return found, fault.New(fault.Usage, "pause the dataset first, or force it; then all of it is copied anew", "dataset %s follows slot %s of source %s", found.Dataset, slot, found.Source)
	case found.Active:
		return found, fault.New(fault.Usage, "force it if that one may be cut off", "slot %s of source %s is in use, by process %d of the server: another Pintail follows it", slot, found.Source, found.PID)
	}
	if err := src.DropSlot(ctx, slot); err != nil {
		return found, err
	}
	if err := src.Unpublish(ctx, slot); err != nil {
		return found, err
	}
	s.log.Warn("a replication slot was dropped by request", "slot", slot, "source", found.Source, "dataset", found.Dataset)
	if found.Dataset == "" || strings.HasSuffix(slot, sideSlot) {
		return found, nil
	}
	s.mu.Lock()
	d := s.cfg.Datasets[found.Dataset]
	s.mu.Unlock()
	if d != nil && d.Form == config.FormCDC {
		return found, nil // its next session finds out, and does what on_lost_slot says
	}
	return found, s.store.Commit(ctx, func(tx *store.Tx) error { return tx.DeleteMeta(claimPrefix + found.Dataset) })
}

// findSlot finds a slot by its name, and the source that has it.
func (s *Syncer) findSlot(ctx context.Context, sourceName, slot string) (Slot, source.Replicator, error) {
	claims, err := s.claims(ctx)
	if err != nil {
		return Slot{}, nil, err
	}
	s.mu.Lock()
	sources := s.sources
	s.mu.Unlock()
	if sourceName != "" && sources[sourceName] == nil {
		return Slot{}, nil, fault.New(fault.NotFound, "", "there is no source %q; the configuration has %v", sourceName, slices.Sorted(maps.Keys(sources)))
	}
	var all []Slot
	var failed []error
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		if sourceName != "" && name != sourceName {
			continue
		}
		found, err := s.slotsOf(ctx, name, sources[name], claims, slot)
		if err != nil {
			failed = append(failed, err)
		}
		for _, f := range found {
			if f.Name == slot {
				all = append(all, f)
			}
		}
	}
	switch {
	case len(all) == 0 && len(failed) > 0:
		return Slot{}, nil, fault.Wrap(failed[0], "look for slot %s", slot)
	case len(all) == 0:
		return Slot{}, nil, fault.New(fault.NotFound, "GET /api/store/slots lists them", "no source has a replication slot %q", slot)
	}
	// Several sources may lead to one database; the one that the dataset is configured with comes first.
	slices.SortStableFunc(all, func(a, b Slot) int {
		mine := func(sl *Slot) int {
			if sl.Dataset != "" && claims[sl.Dataset].Source == sl.Source {
				return 0
			}
			return 1
		}
		return cmp.Compare(mine(&a), mine(&b))
	})
	if len(all) > 1 && all[0].Dataset == "" {
		return Slot{}, nil, fault.New(fault.Usage, "say which source", "slot %s is in the databases of sources %s and %s", slot, all[0].Source, all[1].Source)
	}
	rep, _ := sources[all[0].Source].(source.Replicator) // slotsOf found it there
	return all[0], rep, nil
}
