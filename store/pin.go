package store

import (
	"context"
	"fmt"

	"github.com/pintaildb/pintail/change/types"
	"github.com/pintaildb/pintail/internal/fault"
)

// Pinned is a view of the copy as it was at one moment, whatever is committed meanwhile. One goroutine uses it, for one scan at a
// time. While it is open, the space of dropped tables and deleted rows is not freed, so it should not be open for long. After
// an error that is not the caller's statement's (a context that ended, too little memory) it may be used up: close it.
type Pinned struct {
	s    *Store
	se   *Session
	scan *Scan // the last one, perhaps still open
}

// Pin fixes the moment: all commits that have returned are seen, later ones are not.
func (s *Store) Pin(ctx context.Context) (_ *Pinned, err error) {
	se, err := s.connect(own)
	if err != nil {
		return nil, doing(err, "pin the copy")
	}
	defer func() {
		if err != nil {
			se.Close()
		}
	}()
	if _, err = se.exec(ctx, "BEGIN TRANSACTION READ ONLY"); err != nil {
		return nil, doing(err, "pin the copy")
	}
	// DuckDB takes the snapshot of a file when a transaction first touches it, and not with BEGIN.
	if _, err = se.queryInt(ctx, "SELECT count(*) FROM "+s.state("meta")); err != nil {
		return nil, doing(err, "pin the copy")
	}
	return &Pinned{s: s, se: se}, nil
}

// Scan is Store.Scan at the moment of the pin. The scan before must be closed.
func (p *Pinned) Scan(ctx context.Context, sql string, cols []types.Type) (*Scan, error) {
	if err := p.free(); err != nil {
		return nil, err
	}
	sc, err := p.se.scan(ctx, sql, cols)
	p.scan = sc
	return sc, err
}

// CountRows is Store.CountRows at the moment of the pin. No scan may be open.
func (p *Pinned) CountRows(ctx context.Context, table string) (n int64, err error) {
	if err = p.free(); err == nil {
		n, err = p.se.queryInt(ctx, fmt.Sprintf("SELECT count(*) FROM %s", p.s.table(table)))
	}
	return n, doing(err, "count the rows of %s", table)
}

// free says whether the connection is: a second statement would end an open scan without a word.
func (p *Pinned) free() error {
	if p.scan != nil && !p.scan.closed {
		return fault.New(fault.Internal, "", "a scan of the pinned copy is still open")
	}
	return nil
}

// Close ends the scan and the transaction; it may be called twice.
func (p *Pinned) Close() {
	if p.scan != nil {
		p.scan.Close()
	}
	p.se.Close()
}
