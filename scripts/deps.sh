#!/usr/bin/env bash
# Checks what a build and the tests need: Go, a C and a C++ compiler (DuckDB), make, git, npm (it fetches the
# PostgreSQL binaries), and the clients of PostgreSQL that test/clients drives. As root on Debian or Ubuntu it installs what
# is missing, except Go.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { # command, Debian package
	command -v "$1" >/dev/null || missing+=("$2")
}
need gcc gcc
need g++ g++
need make make
need git git
need npm npm
needed=${#missing[@]}
have() { # test, Debian package
	eval "$1" >/dev/null 2>&1 || missing+=("$2")
}
have 'command -v javac' default-jdk-headless
have '[ -e /usr/share/java/postgresql.jar ]' libpostgresql-jdbc-java
have 'ls /usr/lib/*/odbc/psqlodbcw.so' odbc-postgresql
have 'command -v isql' unixodbc
have '/usr/bin/python3 -c "import psycopg2"' python3-psycopg2
have '/usr/bin/python3 -c "import sqlalchemy"' python3-sqlalchemy
have '/usr/bin/python3 -c "import pyodbc"' python3-pyodbc
have 'command -v psql' postgresql-client
if [ -d /etc/ssl ] && [ ! -e /etc/ssl/certs/ca-certificates.crt ] && command -v apt-get >/dev/null; then
	missing=(ca-certificates "${missing[@]}")
	needed=$((needed + 1))
fi

if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		echo "deps: installing ${missing[*]}"
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq
		apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
	elif [ "$needed" = 0 ]; then
		echo "deps: missing for the tests of test/clients: ${missing[*]}" >&2
	else
		echo "deps: missing: ${missing[*]}" >&2
		echo "      install them with your package manager, on Debian: sudo apt-get install ${missing[*]}" >&2
		exit 1
	fi
fi

# The packages of npm that test/clients runs, when their list has changed.
clients=test/clients/node
if ! cmp -s $clients/package-lock.json $clients/node_modules/.of.json; then
	npm ci --prefix $clients --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	cp $clients/package-lock.json $clients/node_modules/.of.json
fi

want=$(sed -nE 's/^go ([0-9]+\.[0-9]+).*/\1/p' go.mod)
if ! command -v go >/dev/null; then
	echo "deps: missing: Go $want or newer, see https://go.dev/dl/" >&2
	exit 1
fi
# In the module's folder an older Go fetches the toolchain that go.mod names, or says why it cannot.
if ! have=$(go env GOVERSION); then
	echo "deps: Go $want or newer is needed, see https://go.dev/dl/" >&2
	exit 1
fi
echo "deps: $have, $(gcc -dumpfullversion -dumpversion | sed 's/^/gcc /'), npm $(npm --version 2>/dev/null)"
