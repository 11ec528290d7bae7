package ingest

import (
	"context"
	"errors"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/util"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// arrowSource gives the batches of a reader.
type arrowSource struct {
	u *put
	r array.RecordReader
}

type arrowRound []arrow.RecordBatch

func (a arrowRound) release() {
	for _, b := range a {
		b.Release()
	}
}

func (a arrowRound) stage(ctx context.Context, p *store.Put) error { return p.Stage(ctx, a) }

func (a arrowRound) commit(ctx context.Context, p *store.Put, t store.PutTarget) (int64, error) {
	return p.Commit(ctx, t, a)
}

func (s *arrowSource) gather(ctx context.Context) (_ round, more bool, err error) {
	var now arrowRound
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.Usage, "send the rows as valid Arrow IPC", "a batch is malformed: %v", p)
		}
		if err != nil {
			now.release()
		}
	}()
	for bytes := int64(0); bytes < roundBytes; {
		if ctx.Err() != nil {
			return nil, false, stopped(ctx)
		}
		if !s.r.Next() {
			if err := s.r.Err(); err != nil && ctx.Err() == nil {
				return nil, false, unreadable(err)
			}
			if ctx.Err() != nil {
				return nil, false, stopped(ctx)
			}
			return now, false, nil
		}
		b := s.r.RecordBatch()
		b.Retain()
		now = append(now, b)
		n := util.TotalRecordSize(b)
		bytes += n
		if err := s.u.count(b.NumRows(), n); err != nil {
			return nil, false, err
		}
	}
	return now, true, nil
}

// unreadable is why a client's stream ended before its end.
func unreadable(err error) error {
	var known *fault.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(err, "read the rows")
	}
	return fault.New(fault.Usage, "send the rows as valid Arrow IPC, to the end", "read the rows: %w", err)
}
