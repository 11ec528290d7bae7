package pgsql

import pg "github.com/pganalyze/pg_query_go/v6"

// endBackend is pg_cancel_backend and pg_terminate_backend, whose argument is an integer where it is a parameter, too. How long to wait for the
// end is not looked at: the connection is told to end, and does.
func endBackend(r *rewriter, f *pg.FuncCall, _ []string) (*pg.Node, string) {
	r.catalog = true
	return macro("_"+last(f.Funcname), cast(f.Args[0], "int4")), "bool"
}
