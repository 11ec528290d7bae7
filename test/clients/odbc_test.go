package clients

import (
	"fmt"
	"testing"
)

const odbcHint = "apt install odbc-postgresql unixodbc python3-pyodbc (make deps does so)"

func TestODBC(t *testing.T) {
	p := python("python/odbc.py")
	p.hint = odbcHint
	start(t).compare(p)
}

// isqlInput is a statement a line; what is no statement is isql's own.
const isqlInput = `help
SELECT id, flag, small, whole, big, amount, word, day, clock, moment, uid, ints FROM everything WHERE id <> 2 ORDER BY id
SELECT id, doc FROM varied ORDER BY id
SELECT * FROM shop."Mixed Case"
SELECT city, count(*) AS n FROM customers GROUP BY city ORDER BY city
SELECT id, note FROM orders WHERE id < 20 ORDER BY id
SELECT 1 AS still_here
SELECT * FROM shop.nothing
BEGIN
SELECT count(*) FROM orders
COMMIT
SHOW standard_conforming_strings
`

// isql prints through psqlODBC, with and without a cursor of SQL, whose pieces are of two rows.
func TestISQL(t *testing.T) {
	k := start(t)
	for name, options := range map[string]string{"plain": "UseDeclareFetch=0", "cursor": "UseDeclareFetch=1;Fetch=2", "text parameters": "UseServerSidePrepare=0", "old protocol": "Protocol=7.4-0;UseDeclareFetch=1;Fetch=3"} {
		t.Run(name, func(t *testing.T) {
			p := program{name: "isql", stdin: isqlInput, hint: odbcHint, argsOf: func(s side) []string {
				return []string{"-k", fmt.Sprintf("Driver={PostgreSQL Unicode};Servername=%s;Port=%s;Database=%s;Username=%s;Password={%s};%s", s.host, s.port, s.database, s.user, s.password, options), "-b", "-v"}
			}}
			k.same(t, p)
		})
	}
}
