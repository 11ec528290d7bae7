package flightsql

import (
	"context"
	"log/slog"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query/ingest"
	"github.com/pintaildb/pintail/store"
)

// ddl carries out a statement that ingest.IsDDL knows.
func (s *Server) ddl(ctx context.Context, sql string) error {
	d, err := ingest.ParseDDL(sql)
	if err != nil {
		return err
	}
	t := d.Target
	if d.Drop {
		err := s.opts.Ingest.Drop(ctx, whoOf(ctx), t)
		if d.IfExists && fault.CodeOf(err) == fault.NotFound {
			return nil
		}
		return fault.Wrap(err, "drop %s.%s", t.Schema, t.Table)
	}
	se := s.opts.Core.Session(doorName, whoOf(ctx), sessionOf(ctx).settings())
	columns := make([]store.PutColumn, len(d.Columns))
	for i, col := range d.Columns {
		p, err := se.Prepare(ctx, "SELECT CAST(NULL AS "+col.Type+")")
		if err != nil {
			return fault.Wrap(err, "column %s", col.Name)
		}
		columns[i] = store.PutColumn{Name: col.Name, Type: p.Columns()[0].Type, NotNull: col.NotNull}
		p.Close()
	}
	c := callOf(ctx)
	c.detail = append(c.detail, slog.String("table", t.Schema+"."+t.Table), slog.String("mode", t.Mode.String()))
	if err := s.opts.Ingest.Create(ctx, whoOf(ctx), t, columns); err != nil {
		return ctxError(ctx, fault.Wrap(err, "create %s.%s", t.Schema, t.Table))
	}
	sessionOf(ctx).count(1)
	return nil
}
