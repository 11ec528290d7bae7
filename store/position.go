package store

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/pintaildb/pintail/change"
	"github.com/pintaildb/pintail/internal/fault"
)

// SavePosition says how far a dataset's tables follow their source, in the transaction that brings them there. Within one system and
// timeline it does not go back. The row is updated in place: in a table of a few rows that is the least work for DuckDB, and leaves
// nothing dead behind.
func (tx *Tx) SavePosition(dataset string, p change.Position) error {
	lsn, number := p.LSN.String(), strconv.FormatUint(uint64(p.LSN), 10)
	n, err := tx.Exec("UPDATE "+tx.s.state("positions")+` SET lsn = $2, lsn_number = $3::UBIGINT, ordinal = 0, committed_at = $4, system_identifier = $5, timeline = $6, applied_at = $7
		WHERE dataset = $1 AND (lsn_number <= $3::UBIGINT OR system_identifier <> $5 OR timeline <> $6)`,
		dataset, lsn, number, p.CommittedAt, p.System, int64(p.Timeline), time.Now())
	if err != nil || n > 0 {
		return doing(err, "save the position of %s", dataset)
	}
	var have string
	err = tx.se.query(tx.ctx, "SELECT lsn FROM "+tx.s.state("positions")+" WHERE dataset = ?", []any{dataset}, func(r ownRow) error { have = r.text(0); return nil })
	if err == nil && have != "" {
		err = fault.New(fault.DataMismatch, hintCopyAgain, "it is at %s, and would go back to %s", have, lsn)
	}
	if err == nil {
		_, err = tx.Exec("INSERT INTO "+tx.s.state("positions")+" VALUES ($1, $2, $3::UBIGINT, 0, $4, $5, $6, $7)",
			dataset, lsn, number, p.CommittedAt, p.System, int64(p.Timeline), time.Now())
	}
	return doing(err, "save the position of %s", dataset)
}

// DeletePosition forgets a dataset's position, if it has one.
func (tx *Tx) DeletePosition(dataset string) error {
	_, err := tx.Exec("DELETE FROM "+tx.s.state("positions")+" WHERE dataset = ?", dataset)
	return doing(err, "forget the position of %s", dataset)
}

// Positions are the positions of all datasets that have one.
func (s *Store) Positions(ctx context.Context) (map[string]change.Position, error) {
	all := map[string]change.Position{}
	err := s.with(func(se *Session) error {
		return se.query(ctx, "SELECT dataset, lsn, epoch_us(committed_at), system_identifier, timeline::BIGINT FROM "+s.state("positions"), nil, func(r ownRow) error {
			lsn, err := change.ParseLSN(r.text(1))
			if err != nil {
				return err
			}
			all[r.text(0)] = change.Position{LSN: lsn, CommittedAt: r.time(2), System: r.text(3), Timeline: int32(r.int(4))}
			return nil
		})
	})
	return all, doing(err, "read the positions")
}

// Quarantined is a row or table that could not be followed, and waits for a person.
type Quarantined struct {
	Dataset, Target string
	LSN             change.LSN // where it happened
	Reason, Code    string
	Row             json.RawMessage // nil for a whole table
	At              time.Time
}

// Quarantine adds q.
func (tx *Tx) Quarantine(q Quarantined) error {
	_, err := tx.Exec("INSERT INTO "+tx.s.state("quarantine")+" VALUES (?, ?, ?, ?, ?, ?, ?)", q.Dataset, q.Target, q.LSN.String(), q.Reason, q.Code, q.Row, q.At)
	return doing(err, "put %s into quarantine", q.Target)
}

// Unquarantine forgets all that is in quarantine of a target.
func (tx *Tx) Unquarantine(dataset, target string) error {
	_, err := tx.Exec("DELETE FROM "+tx.s.state("quarantine")+" WHERE dataset = ? AND target = ?", dataset, target)
	return doing(err, "take %s out of quarantine", target)
}

// Quarantined is what is in quarantine of a dataset, or of all with "", oldest first.
func (s *Store) Quarantined(ctx context.Context, dataset string) (all []Quarantined, err error) {
	err = s.with(func(se *Session) error {
		return se.query(ctx, `SELECT dataset, target, lsn, reason, code, "row"::VARCHAR, epoch_us("at") FROM `+s.state("quarantine")+" WHERE $1 = '' OR dataset = $1 ORDER BY \"at\", target", []any{dataset}, func(r ownRow) error {
			lsn, err := change.ParseLSN(r.text(2))
			if err != nil {
				return err
			}
			all = append(all, Quarantined{Dataset: r.text(0), Target: r.text(1), LSN: lsn, Reason: r.text(3), Code: r.text(4), Row: r.json(5), At: r.time(6)})
			return nil
		})
	})
	return all, doing(err, "read the quarantine")
}
