"""Works with a PostgreSQL through psqlODBC and prints what it sees. Arguments: host, port, database, user, password."""
import datetime
import decimal
import sys
import threading
import uuid

import pyodbc

host, port, database, user, password = sys.argv[1:6]
pyodbc.pooling = False


def connect(**options):
    options = "".join(f"{k}={v};" for k, v in options.items())
    return pyodbc.connect(f"Driver={{PostgreSQL Unicode}};Servername={host};Port={port};Database={database};Username={user};Password={{{password}}};{options}")


def attempt(body):
    try:
        body()
    except pyodbc.Error as e:
        print("error", e.args[0])
        print(e, file=sys.stderr)


def section(name):
    def run(body):
        print("==", name)
        attempt(body)
    return run


def rows(cursor, without=()):
    names = [d[0] for d in cursor.description]
    keep = [i for i, n in enumerate(names) if n not in without]
    print([names[i] for i in keep])
    for r in cursor.fetchall():
        print([r[i] for i in keep])


def ordered(cursor, without=()):
    names = [d[0] for d in cursor.description]
    keep = [i for i, n in enumerate(names) if n not in without]
    for line in sorted(str([r[i] for i in keep]) for r in cursor.fetchall()):
        print(line)


TABLES = ["everything", "varied", 'shop."Mixed Case"', "shop.nothing", "totals"]
SLOW = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"
conn = connect()
cur = conn.cursor()


@section("information")
def _():
    for i in [pyodbc.SQL_DBMS_NAME, pyodbc.SQL_DBMS_VER, pyodbc.SQL_DATABASE_NAME, pyodbc.SQL_USER_NAME, pyodbc.SQL_IDENTIFIER_QUOTE_CHAR, pyodbc.SQL_TXN_CAPABLE, pyodbc.SQL_DATA_SOURCE_READ_ONLY]:
        print(conn.getinfo(i) if i != pyodbc.SQL_DBMS_VER else conn.getinfo(i).split(".")[0])


@section("tables")
def _():
    ordered(cur.tables(schema="public"))
    ordered(cur.tables(schema="shop", tableType="TABLE"))
    ordered(cur.tables(table="%", catalog="", schema="", tableType="TABLE,VIEW"))
    ordered(cur.tables(table="", catalog="", schema="%"))


@section("columns")
def _():
    for table, schema in [("everything", "public"), ("orders", "public"), ("items", "shop"), ("Mixed Case", "shop"), ("totals", "public")]:
        rows(cur.columns(table=table, schema=schema), ("table oid",))


@section("columns of varied")
def _():
    rows(cur.columns(table="varied", schema="public"), ("table oid", "field_type"))


@section("keys")
def _():
    for table, schema in [("orders", "public"), ("items", "shop"), ("Mixed Case", "shop")]:
        rows(cur.primaryKeys(table=table, schema=schema))
        rows(cur.foreignKeys(table=table, schema=schema))
        rows(cur.statistics(table=table, schema=schema, unique=True), ("CARDINALITY", "PAGES"))
        rows(cur.rowIdColumns(table=table, schema=schema))


@section("types and procedures")
def _():
    rows(cur.getTypeInfo())
    rows(cur.procedures(schema="public"))


@section("values")
def _():
    for table in TABLES:
        if table == "varied":
            cur.execute("SELECT id, code, doc::text, feeling::text, address::text FROM varied ORDER BY 1")
        else:
            cur.execute("SELECT * FROM " + table + " ORDER BY 1")
        print([(d[0], d[1].__name__, d[3], d[4], d[5], d[6]) for d in cur.description])
        for r in cur.fetchall():
            print([v.hex() if isinstance(v, bytes) else v for v in r])


@section("parameters")
def _():
    for where, args in [("id = ?", 3), ("big = ?", 4200000000), ("amount > ?", decimal.Decimal("1000.5")), ("double_ < ?", 0.5), ("word = ?", "plain"), ("word LIKE ?", "h%"), ("flag = ?", True), ("day = ?", datetime.date(2024, 2, 29)),
                        ("moment > ?", datetime.datetime(2024, 1, 1)), ("clock = ?", datetime.time(12, 34, 56)), ("uid = ?", uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")), ("raw = ?", b"\xde\xad\xbe\xef"), ("word = ?", "héllo 漢字 🙂"), ("id + ? > 5", 2), ("word IS NULL AND ?::text IS NULL", None)]:
        def one():
            both = [[r[0] for r in cur.execute("SELECT id FROM everything WHERE " + where + " ORDER BY id", args).fetchall()] for _ in range(2)]
            print(where, both)
        attempt(one)
    cur.execute("SELECT id FROM everything WHERE id BETWEEN ? AND ? AND word <> ? ORDER BY id", 1, 4, "x")
    print(cur.fetchall())


@section("fetching")
def _():
    for options in [{"UseDeclareFetch": 0}, {"UseDeclareFetch": 1, "Fetch": 7}, {"UseDeclareFetch": 1, "Fetch": 1000}, {"UseServerSidePrepare": 0, "UseDeclareFetch": 1}, {"Protocol": "7.4-2"}, {"Protocol": "7.4-0", "UseDeclareFetch": 1}]:
        def one():
            c = connect(**options)
            k = c.cursor()
            k.execute("SELECT id, amount, note FROM orders ORDER BY id")
            n = total = 0
            while True:
                part = k.fetchmany(111)
                if not part:
                    break
                n += len(part)
                total += sum(r[0] for r in part)
            print(options, n, total)
            k.execute("SELECT id FROM orders WHERE status = ? ORDER BY id", "new")
            print(k.fetchone(), k.fetchone())
            k.execute("SELECT count(*) FROM orders")
            print(k.fetchall())
            attempt(lambda: k.execute("SELECT nothing FROM orders"))
            c.rollback()
            k.execute("SELECT 1")
            print(k.fetchall())
            c.close()
        attempt(one)


@section("errors")
def _():
    for sql in ["SELECT nothing FROM orders", "SELEC", "SELECT 1/0", "INSERT INTO orders (id) VALUES (0)", "SELECT 'a'::int"]:
        attempt(lambda: cur.execute(sql).fetchall())
        conn.rollback()


@section("transactions")
def _():
    conn.autocommit = False
    cur.execute("SELECT 1").fetchall()
    attempt(lambda: cur.execute("SELECT nothing"))
    conn.rollback()
    print(cur.execute("SELECT count(*) FROM orders").fetchall())
    conn.commit()
    conn.autocommit = True


@section("cancel")
def _():
    timer = threading.Timer(0.5, cur.cancel)
    timer.start()
    attempt(lambda: cur.execute(SLOW))
    timer.join()
    conn.rollback()
    cur.execute("SET statement_timeout = 300")
    attempt(lambda: cur.execute(SLOW))
    conn.rollback()
    cur.execute("RESET statement_timeout")
    print(cur.execute("SELECT 1").fetchall())


@section("wrong password")
def _():
    global password
    password += "x"
    connect()
