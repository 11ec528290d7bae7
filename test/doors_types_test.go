package test

import (
	"testing"

	"github.com/pintaildb/pintail/internal/pgtest"
	"github.com/pintaildb/pintail/test/harness"
)

// Every type with its extremes comes out of every door, in every format, as PostgreSQL prints it.
func TestDoorsAgreeOnEveryType(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, server *pgtest.Server) {
		t.Parallel()
		url := server.DB(t)
		typeTable(t, url, server.Major)
		p := harness.New(t)
		p.DuckDB = "sync_mode: manual"
		head, d := p.OpenDoors(url)
		p.Write(head + "datasets:\n  types: {source: pg, table: public.types, key: [id]}\n" + doorsUsers)
		d.Enter(p.Serve(), tokenOf("root"))
		d.Sync("types")
		harness.Compare(t, url, "SELECT * FROM types", d, "types", "id")
		var notArrow []string
		if server.Major >= 15 {
			notArrow = []string{"c_interval15"} // more nanoseconds than 64 bits hold
		}
		d.CompareDoors(t, url, "SELECT * FROM types", "types", "id", notArrow...)
	})
}
