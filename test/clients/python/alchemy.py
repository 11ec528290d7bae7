"""Works with a PostgreSQL through SQLAlchemy and prints what it sees. Arguments: host, port, database, user, password."""
import datetime
import sys

import sqlalchemy as sa
from sqlalchemy import orm

host, port, database, user, password = sys.argv[1:6]
engine = sa.create_engine(sa.engine.URL.create("postgresql+psycopg2", user, password, host, int(port), database), pool_pre_ping=True)


def section(name):
    def run(body):
        print("==", name)
        try:
            body()
        except sa.exc.DBAPIError as e:
            print("error", e.orig.pgcode, type(e).__name__)
            print(e, file=sys.stderr)
    return run


inspector = sa.inspect(engine)


def ordered(d):
    return sorted((k, str(v) if k == "type" else v) for k, v in d.items())


@section("dialect")
def _():
    with engine.connect() as c:
        print(engine.dialect.server_version_info[0], engine.dialect.default_schema_name, c.default_isolation_level, c.get_isolation_level())
    print(inspector.default_schema_name)


@section("names")
def _():
    print(inspector.get_schema_names())
    for schema in [None, "public", "shop"]:
        print(schema, sorted(inspector.get_table_names(schema)), sorted(inspector.get_view_names(schema)), inspector.get_sequence_names(schema))
    print([inspector.has_table(*t) for t in [("orders",), ("nowhere",), ("items", "shop"), ("totals",)]])
    print(inspector.get_foreign_table_names(), inspector.get_enums("shop"))


for schema, table in [("public", "everything"), ("public", "varied"), ("public", "orders"), (None, "customers"), ("shop", "items"), ("shop", "Mixed Case"), ("shop", "nothing"), (None, "totals")]:
    @section(f"table {schema} {table}")
    def _():
        for c in inspector.get_columns(table, schema):
            print(ordered(c))
        print(inspector.get_pk_constraint(table, schema))
        print(inspector.get_foreign_keys(table, schema))
        print(inspector.get_indexes(table, schema))
        print(inspector.get_unique_constraints(table, schema))
        print(inspector.get_check_constraints(table, schema))
        print(inspector.get_table_comment(table, schema))


@section("missing table")
def _():
    try:
        inspector.get_columns("nowhere")
    except sa.exc.NoSuchTableError as e:
        print("no such table", e)


@section("reflection")
def _():
    metadata = sa.MetaData()
    metadata.reflect(engine)
    metadata.reflect(engine, schema="shop", views=True)
    for name in sorted(metadata.tables):
        t = metadata.tables[name]
        print(name, [(c.name, str(c.type) if name != "varied" else "", c.primary_key) for c in t.columns])


@section("queries")
def _():
    metadata = sa.MetaData()
    orders = sa.Table("orders", metadata, autoload_with=engine)
    customers = sa.Table("customers", metadata, autoload_with=engine)
    everything = sa.Table("everything", metadata, autoload_with=engine)
    mixed = sa.Table("Mixed Case", metadata, schema="shop", autoload_with=engine)
    total = sa.func.sum(orders.c.amount).label("total")
    statements = [
        sa.select(orders).where(orders.c.id < 4).order_by(orders.c.id),
        sa.select(customers.c.city, sa.func.count().label("n"), total).join(orders, orders.c.customer_id == customers.c.id).where(orders.c.status.in_(["new", "paid"])).group_by(customers.c.city).order_by(total.desc()).limit(3),
        sa.select(customers.c.id).where(customers.c.created >= datetime.datetime(2024, 4, 1, tzinfo=datetime.timezone.utc)).order_by(customers.c.id).limit(2).offset(1),
        sa.select(customers.c.name).where(customers.c.name.ilike("%R 1_")).order_by(customers.c.name),
        sa.select(sa.extract("year", orders.c.placed).label("y"), sa.func.date_trunc("month", orders.c.placed).label("m"), sa.func.count()).group_by("y", "m").order_by("m").limit(3),
        sa.select(everything.c.id, everything.c.words, everything.c.doc["a"], everything.c.doc["a"][0].as_integer()).where(everything.c.id == 1),
        sa.select(everything.c.id).where(everything.c.ints.any(2)),
        sa.select(everything.c.id).where(everything.c.words.contains(["a"])),
        sa.select(mixed).order_by(mixed.c.select.desc()),
        sa.select(sa.func.row_number().over(order_by=orders.c.id.desc()).label("r"), orders.c.id).order_by("r").limit(2),
        sa.select(sa.case((orders.c.amount > 50, "much"), else_="little").label("c"), sa.func.count()).group_by("c").order_by("c"),
        sa.select(sa.cast(orders.c.amount, sa.Integer)).where(orders.c.id == 77),
        sa.select(sa.exists().where(orders.c.id == 5)),
        sa.union_all(sa.select(orders.c.id).where(orders.c.id == 1), sa.select(customers.c.id).where(customers.c.id == 2)).order_by("id"),
        sa.select(customers.c.id, sa.literal("x").label("x"), sa.null().label("nothing"), sa.true().label("yes")).where(customers.c.city.is_(None)).order_by(customers.c.id).limit(1),
        sa.text("SELECT :a + 1 AS n").bindparams(a=1),
    ]
    with engine.connect() as c:
        for s in statements:
            result = c.execute(s)
            print(list(result.keys()), [tuple(r) for r in result])


@section("orm")
def _():
    base = orm.declarative_base()

    class Customer(base):
        __tablename__ = "customers"
        id = sa.Column(sa.Integer, primary_key=True)
        name = sa.Column(sa.String)
        city = sa.Column(sa.String)
        orders = orm.relationship("Order", order_by="Order.id")

    class Order(base):
        __tablename__ = "orders"
        id = sa.Column(sa.BigInteger, primary_key=True)
        customer_id = sa.Column(sa.ForeignKey("customers.id"))
        amount = sa.Column(sa.Numeric(10, 2))

    with orm.Session(engine) as s:
        print([(c.name, [o.amount for o in c.orders][:3]) for c in s.query(Customer).options(orm.selectinload(Customer.orders)).filter(Customer.city == "Lyon").order_by(Customer.id).limit(2)])
        print(s.get(Customer, 7).name, s.query(sa.func.count(Order.id)).scalar())
        s.get(Customer, 7).name = "other"
        try:
            s.commit()
        except sa.exc.DBAPIError as e:
            print("error", e.orig.pgcode)


@section("streaming")
def _():
    with engine.connect().execution_options(stream_results=True, max_row_buffer=100) as c:
        result = c.execute(sa.text("SELECT id, note FROM orders ORDER BY id"))
        print(sum(r.id for r in result))


@section("isolation")
def _():
    for level in ["AUTOCOMMIT", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]:
        with engine.connect().execution_options(isolation_level=level) as c:
            print(c.execute(sa.text("SELECT 1")).scalar(), c.get_isolation_level())
    with engine.begin() as c:
        with c.begin_nested():
            print(c.execute(sa.text("SELECT 2")).scalar())
