package clients

import "testing"

// python is Debian's own, which finds the packages of Debian.
func python(file string) program {
	return program{name: "/usr/bin/python3", args: []string{file}, hint: "apt install python3-psycopg2 python3-sqlalchemy python3-pyodbc odbc-postgresql (make deps does so)"}
}

func TestPsycopg(t *testing.T) {
	start(t).compare(python("python/psycopg.py"))
}

func TestSQLAlchemy(t *testing.T) {
	start(t).compare(python("python/alchemy.py"))
}
