"""Works with a PostgreSQL through psycopg2 and prints what it sees. Arguments: host, port, database, user, password."""
import datetime
import decimal
import io
import sys
import threading
import time
import uuid

import psycopg2
import psycopg2.extensions
import psycopg2.extras

host, port, database, user, password = sys.argv[1:6]


def connect(**more):
    return psycopg2.connect(host=host, port=port, dbname=database, user=user, password=password, **more)


def attempt(body):
    try:
        body()
    except psycopg2.Error as e:
        print("error", e.pgcode, type(e).__name__)
        print(e, file=sys.stderr)


def section(name):
    def run(body):
        print("==", name)
        attempt(body)
    return run


def show(v):
    if isinstance(v, memoryview):
        return "bytes " + bytes(v).hex()
    return repr(v)


TABLES = ["everything", "varied", 'shop."Mixed Case"', "shop.nothing", "totals"]
SLOW = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"
conn = connect()
conn.autocommit = True
psycopg2.extras.register_uuid()


@section("connection")
def _():
    print(conn.server_version // 10000, conn.encoding, conn.get_parameter_status("TimeZone") is not None, conn.get_parameter_status("integer_datetimes"), conn.get_parameter_status("standard_conforming_strings"))
    print(conn.info.dbname == database, conn.info.user, conn.get_transaction_status(), conn.info.ssl_in_use)


# A date of the year 0001 or 9999 with a zone, or after 9999, has no datetime: such columns are read as text.
@section("values")
def _():
    for table in TABLES:
        cur = conn.cursor()
        columns = "*" if table != "everything" else "id, flag, small, whole, big, single, double_, amount, word, day, clock, clock_tz, span, uid, raw, doc, ints, words, amounts, moment::text, moment_tz::text"
        cur.execute("SELECT " + columns + " FROM " + table + " ORDER BY 1")
        for d in cur.description:
            print(d.name, d.type_code if d.type_code < 16384 else "own", d.internal_size, d.precision, d.scale)
        for row in cur:
            print([show(v) for v in row])
        print(cur.rowcount, cur.statusmessage)


@section("values adapted")
def _():
    values = [None, True, 0, -2**31, 2**63 - 1, 2**70, 1.5, 1e-300, float("nan"), float("inf"), decimal.Decimal("12345678901234567890.0123456789"), "é'\\ \" % text", "", b"\x00\xff'\\",
              datetime.date(2024, 2, 29), datetime.time(1, 2, 3, 4), datetime.datetime(2024, 2, 29, 1, 2, 3, 456), datetime.datetime(2024, 2, 29, 1, 2, 3, tzinfo=datetime.timezone.utc),
              datetime.timedelta(days=-3, seconds=5, microseconds=7), uuid.UUID(int=1), [1, 2, None], ["a", "b,c", 'd"e', None], [decimal.Decimal("1.5")], [datetime.date(2024, 1, 1)], psycopg2.extras.Json({"a": [1, None]})]
    cur = conn.cursor()
    for v in values:
        def one():
            cur.execute("SELECT %s AS v", (v,))
            print(type(v).__name__, cur.description[0].type_code, show(cur.fetchone()[0]))
        attempt(one)


@section("parameters")
def _():
    cur = conn.cursor()
    for where, args in [("id = %s", (3,)), ("big = %s", (4200000000,)), ("amount > %s", (decimal.Decimal("1000"),)), ("double_ < %s", (0.5,)), ("word = %s", ("plain",)), ("word LIKE %s", ("h%",)),
                        ("flag = %s", (True,)), ("day = %s", (datetime.date(2024, 2, 29),)), ("moment_tz > %s", (datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),)), ("clock = %s", (datetime.time(12, 34, 56),)),
                        ("uid = %s", (uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),)), ("raw = %s", (b"\xde\xad\xbe\xef",)), ("id = ANY(%s)", ([1, 4],)), ("word = ANY(%s)", (["plain", "x"],)),
                        ("ints = %s", ([1, 2, 3],)), ("words @> %s", (["a"],)), ("id IN %s", ((1, 2),)), ("word IS NOT DISTINCT FROM %s", (None,)), ("span > %s", (datetime.timedelta(days=300),)), ("doc->>'a' IS NOT NULL AND id = %(n)s", {"n": 1})]:
        def one():
            cur.execute("SELECT id FROM everything WHERE " + where + " ORDER BY id", args)
            print(where, cur.fetchall())
        attempt(one)


@section("named cursor")
def _():
    conn.autocommit = False
    cur = conn.cursor("first")
    cur.itersize = 300
    cur.execute("SELECT id, note FROM orders ORDER BY id")
    print(cur.fetchone(), cur.fetchmany(2))
    n = 0
    total = 0
    for id, note in cur:
        n += 1
        total += id + len(note or "")
    print(n, total, [d.name for d in cur.description])
    cur.close()
    cur = conn.cursor("second", withhold=True)
    cur.execute("SELECT id FROM orders WHERE status = %s ORDER BY id", ("new",))
    print(cur.fetchmany(3))
    conn.commit()
    print(cur.fetchmany(3))
    cur.scroll(10)
    print(cur.fetchone())
    cur.close()
    conn.commit()
    conn.autocommit = True


@section("copy")
def _():
    cur = conn.cursor()
    for sql in ["COPY (SELECT id, word, amount, moment_tz, words FROM everything ORDER BY id) TO STDOUT", "COPY (SELECT * FROM customers ORDER BY id LIMIT 5) TO STDOUT WITH CSV HEADER"]:
        out = io.StringIO()
        cur.copy_expert(sql, out)
        print(repr(out.getvalue()), cur.rowcount)
    out = io.StringIO()
    cur.copy_to(out, "varied", columns=("id", "code"), null="-")
    print(sorted(out.getvalue().split("\n")))
    out = io.BytesIO()
    cur.copy_expert("COPY (SELECT id, big FROM everything ORDER BY id) TO STDOUT WITH BINARY", out)
    print(out.getvalue().hex())


@section("errors")
def _():
    for sql in ["SELECT * FROM nowhere", "SELECT x FROM orders", "SELECT 1/0", "SELEC", "INSERT INTO orders (id) VALUES (0)", "SELECT 'a'::int", "COPY nowhere TO STDOUT"]:
        attempt(lambda: conn.cursor().execute(sql) if not sql.startswith("COPY") else conn.cursor().copy_expert(sql, io.StringIO()))


@section("transactions")
def _():
    conn.autocommit = False
    cur = conn.cursor()
    print(conn.status, conn.get_transaction_status())
    cur.execute("SELECT 1")
    print(conn.get_transaction_status())
    attempt(lambda: cur.execute("SELECT nothing"))
    attempt(lambda: cur.execute("SELECT 1"))
    print(conn.get_transaction_status())
    conn.rollback()
    conn.set_session(isolation_level="SERIALIZABLE", readonly=True, deferrable=True)
    cur.execute("SELECT count(*) FROM orders")
    print(cur.fetchall())
    conn.commit()
    conn.set_session(isolation_level="DEFAULT", readonly="DEFAULT", deferrable="DEFAULT")
    with conn, conn.cursor() as inner:
        inner.execute("SAVEPOINT a; SELECT 5; RELEASE a")
    conn.reset()
    conn.autocommit = True


@section("cancel")
def _():
    def slow():
        conn.cursor().execute(SLOW)
    timer = threading.Timer(0.5, conn.cancel)
    timer.start()
    attempt(slow)
    timer.join()
    cur = conn.cursor()
    cur.execute("SET statement_timeout = '200ms'")
    attempt(slow)
    cur.execute("RESET statement_timeout")
    cur.execute("SELECT 1")
    print(cur.fetchall())


@section("extras")
def _():
    cur = conn.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
    cur.execute("SELECT id, city FROM customers ORDER BY id LIMIT 2")
    print(cur.fetchall())
    cur = conn.cursor(cursor_factory=psycopg2.extras.NamedTupleCursor)
    cur.execute('SELECT "Id", "Some Name" FROM shop."Mixed Case" ORDER BY 1')
    print(cur.fetchall())
    cur = conn.cursor()
    print(psycopg2.extras.execute_values(cur, "SELECT * FROM (VALUES %s) v ORDER BY 1", [(1, "a"), (2, None)], fetch=True))
    cur.execute("SELECT 1; SELECT 2 AS two; SET application_name = 'x'")
    print(cur.statusmessage)
    cur.callproc("upper", ["x"])
    print(cur.fetchall())
    cur.executemany("SELECT %s", [(1,), (2,)])
    print(cur.mogrify("SELECT %s, %s", ("a'b\\", [1])))
    cur.execute("PREPARE p AS SELECT id FROM customers WHERE id < $1 ORDER BY id")
    cur.execute("EXECUTE p (3)")
    print(cur.fetchall())
    cur.execute("DEALLOCATE p")


@section("asynchronous")
def _():
    a = connect(async_=1)
    psycopg2.extras.wait_select(a)
    cur = a.cursor()
    cur.execute("SELECT count(*) FROM orders")
    psycopg2.extras.wait_select(a)
    print(cur.fetchall())
    a.close()


@section("options")
def _():
    c = connect(options="-c statement_timeout=1234 -c search_path=shop,public", application_name="the client", client_encoding="UTF8")
    cur = c.cursor()
    for name in ["statement_timeout", "application_name", "client_encoding"]:
        cur.execute("SHOW " + name)
        print(cur.fetchone())
    cur.execute("SELECT count(*) FROM items")
    print(cur.fetchone())
    c.close()


@section("wrong password")
def _():
    try:
        psycopg2.connect(host=host, port=port, dbname=database, user=user, password="x")
    except psycopg2.OperationalError as e:
        print("password authentication failed" in str(e))
