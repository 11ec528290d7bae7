import java.io.StringWriter;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.*;
import java.time.*;
import java.util.*;
import java.util.concurrent.*;
import org.postgresql.PGConnection;
import org.postgresql.PGStatement;
import org.postgresql.copy.CopyManager;

/** Works with a PostgreSQL through pgjdbc, and prints what it sees in sections. Arguments: host, port, database, user, password. */
public class Client {
    static String url;
    static String user, password;

    static Connection connect(String... options) throws SQLException {
        Properties p = new Properties();
        p.setProperty("user", user);
        p.setProperty("password", password);
        for (String o : options) {
            p.setProperty(o.substring(0, o.indexOf('=')), o.substring(o.indexOf('=') + 1));
        }
        return DriverManager.getConnection(url, p);
    }

    interface Body {
        void run() throws Exception;
    }

    static void section(String name, Body body) {
        System.out.println("== " + name);
        attempt(body);
    }

    /** Runs body; of an error it prints the code. */
    static void attempt(Body body) {
        try {
            body.run();
        } catch (SQLException e) {
            System.out.println("error " + e.getSQLState());
            System.err.println(e.getMessage());
        } catch (Exception e) {
            System.out.println("exception " + e);
        }
    }

    static void print(Object... values) {
        StringJoiner j = new StringJoiner(" | ");
        for (Object v : values) {
            j.add(v == null ? "∅" : String.valueOf(v).replace("\n", "\\n"));
        }
        System.out.println(j);
    }

    /** Prints a metadata call's rows, but for the named columns. */
    static void rows(ResultSet rs, String... except) throws SQLException {
        Set<String> hidden = Set.of(except);
        ResultSetMetaData m = rs.getMetaData();
        List<Integer> shown = new ArrayList<>();
        StringJoiner head = new StringJoiner(" | ");
        for (int i = 1; i <= m.getColumnCount(); i++) {
            if (!hidden.contains(m.getColumnLabel(i))) {
                shown.add(i);
                head.add(m.getColumnLabel(i));
            }
        }
        System.out.println(head);
        while (rs.next()) {
            Object[] row = new Object[shown.size()];
            for (int i = 0; i < row.length; i++) {
                row[i] = rs.getString(shown.get(i));
            }
            print(row);
        }
        rs.close();
    }

    static void describe(ResultSetMetaData m) throws SQLException {
        for (int i = 1; i <= m.getColumnCount(); i++) {
            print(m.getColumnLabel(i), m.getColumnTypeName(i), m.getColumnType(i), m.getColumnClassName(i), m.getPrecision(i), m.getScale(i), m.getColumnDisplaySize(i), m.isSigned(i), m.isCaseSensitive(i));
        }
    }

    static String show(Object o) throws SQLException {
        if (o instanceof byte[]) {
            return HexFormat.of().formatHex((byte[]) o);
        }
        if (o instanceof java.sql.Array) {
            return Arrays.deepToString((Object[]) ((java.sql.Array) o).getArray());
        }
        return String.valueOf(o);
    }

    /** Every value of a statement's rows, as text and as the driver's object. */
    static void values(PreparedStatement st) throws SQLException {
        try (ResultSet rs = st.executeQuery()) {
            int n = rs.getMetaData().getColumnCount();
            while (rs.next()) {
                for (int i = 1; i <= n; i++) {
                    Object o = rs.getObject(i);
                    print(rs.getMetaData().getColumnLabel(i), o instanceof byte[] ? "" : rs.getString(i), o == null ? null : o.getClass().getSimpleName(), show(o));
                }
            }
        }
    }

    static void metadata(Connection c) {
        section("connection", () -> {
            DatabaseMetaData m = c.getMetaData();
            print(m.getDatabaseProductName(), m.getDatabaseMajorVersion(), m.getUserName(), m.isReadOnly(), c.getCatalog(), c.getSchema(), c.getTransactionIsolation(), c.isReadOnly());
            print(m.getDefaultTransactionIsolation(), m.getMaxColumnNameLength(), m.getMaxConnections() > 0, m.getIdentifierQuoteString(), m.supportsTransactions(), c.isValid(5));
            c.setSchema("shop");
            print(c.getSchema());
            c.setSchema("public");
            c.setClientInfo("ApplicationName", "the client");
            print(c.getClientInfo("ApplicationName"));
            rows(m.getClientInfoProperties());
        });
        section("keywords", () -> print(c.getMetaData().getSQLKeywords()));
        section("functions of the driver", () -> {
            DatabaseMetaData m = c.getMetaData();
            print(m.getNumericFunctions(), m.getStringFunctions(), m.getSystemFunctions(), m.getTimeDateFunctions());
        });
        section("catalogs", () -> rows(c.getMetaData().getCatalogs()));
        section("schemas", () -> rows(c.getMetaData().getSchemas()));
        section("schemas by name", () -> rows(c.getMetaData().getSchemas(c.getCatalog(), "sh%")));
        section("table types", () -> rows(c.getMetaData().getTableTypes()));
        section("tables of public", () -> rows(c.getMetaData().getTables(null, "public", "%", null)));
        section("tables of shop", () -> rows(c.getMetaData().getTables(c.getCatalog(), "shop", null, new String[] {"TABLE", "VIEW"})));
        section("tables everywhere", () -> rows(c.getMetaData().getTables(null, null, "%o%", new String[] {"TABLE", "VIEW", "PARTITIONED TABLE", "FOREIGN TABLE", "MATERIALIZED VIEW"})));
        section("system tables", () -> rows(c.getMetaData().getTables(null, "pg_catalog", "pg_cl%", new String[] {"SYSTEM TABLE"})));
        section("columns of everything", () -> rows(c.getMetaData().getColumns(null, "public", "everything", null)));
        section("columns of varied", () -> rows(c.getMetaData().getColumns(null, "public", "varied", null)));
        section("columns of shop", () -> rows(c.getMetaData().getColumns(null, "shop", "%", "%")));
        section("columns of a view", () -> rows(c.getMetaData().getColumns(null, "public", "totals", null)));
        section("columns by pattern", () -> rows(c.getMetaData().getColumns(null, null, "ord%", "%\\_id")));
        section("primary keys", () -> {
            rows(c.getMetaData().getPrimaryKeys(null, "public", "orders"));
            rows(c.getMetaData().getPrimaryKeys(null, "shop", "items"));
            rows(c.getMetaData().getPrimaryKeys(null, null, "Mixed Case"));
        });
        section("indexes", () -> {
            rows(c.getMetaData().getIndexInfo(null, "public", "orders", false, true), "CARDINALITY", "PAGES");
            rows(c.getMetaData().getIndexInfo(null, "shop", "items", true, true), "CARDINALITY", "PAGES");
            rows(c.getMetaData().getIndexInfo(null, "shop", "Mixed Case", true, false), "CARDINALITY", "PAGES");
        });
        section("foreign keys", () -> {
            rows(c.getMetaData().getImportedKeys(null, "public", "orders"));
            rows(c.getMetaData().getExportedKeys(null, "public", "customers"));
            rows(c.getMetaData().getCrossReference(null, "public", "customers", null, "public", "orders"));
        });
        section("row identifiers", () -> {
            rows(c.getMetaData().getBestRowIdentifier(null, "shop", "items", DatabaseMetaData.bestRowSession, false));
            rows(c.getMetaData().getVersionColumns(null, "shop", "items"));
        });
        section("privileges", () -> {
            rows(c.getMetaData().getTablePrivileges(null, "public", "orders"));
            rows(c.getMetaData().getColumnPrivileges(null, "public", "orders", "amount"));
        });
        section("types", () -> {
            // Types of one kind come in no order of their own.
            ResultSet rs = c.getMetaData().getTypeInfo();
            TreeSet<String> all = new TreeSet<>();
            while (rs.next()) {
                if (rs.getString("TYPE_NAME").startsWith("_")) {
                    continue; // the arrays of them all
                }
                all.add(rs.getString("TYPE_NAME") + " | " + rs.getInt("DATA_TYPE") + " | " + rs.getInt("PRECISION") + " | " + rs.getBoolean("CASE_SENSITIVE") + " | " + rs.getBoolean("UNSIGNED_ATTRIBUTE"));
            }
            all.forEach(System.out::println);
        });
        section("procedures", () -> {
            rows(c.getMetaData().getProcedures(null, "public", "%"));
            rows(c.getMetaData().getProcedureColumns(null, "public", "%", "%"));
            rows(c.getMetaData().getFunctions(null, "public", "%"));
            rows(c.getMetaData().getFunctionColumns(null, "public", "%", "%"));
            rows(c.getMetaData().getUDTs(null, "shop", "%", null));
        });
    }

    static final String[] TABLES = {"everything", "varied", "shop.\"Mixed Case\"", "shop.nothing", "totals"};

    static void tables(String how, Connection c) {
        for (String table : TABLES) {
            section(how + ": " + table, () -> {
                try (PreparedStatement st = c.prepareStatement("SELECT * FROM " + table + " ORDER BY 1")) {
                    describe(st.getMetaData());
                    values(st);
                }
            });
        }
    }

    interface Setter {
        void set(PreparedStatement st) throws SQLException;
    }

    /** Runs a statement often enough that the driver prepares it on the server and takes to the binary format. */
    static void parameters(Connection c) {
        Map<String, Setter> all = new LinkedHashMap<>();
        all.put("whole = ?", st -> st.setInt(1, 42));
        all.put("big = ?", st -> st.setLong(1, 4200000000L));
        all.put("small = ?", st -> st.setShort(1, (short) 7));
        all.put("single = ?", st -> st.setFloat(1, 1.5f));
        all.put("double_ = ?", st -> st.setDouble(1, 0.1));
        all.put("amount = ?", st -> st.setBigDecimal(1, new BigDecimal("1234.5")));
        all.put("word = ?", st -> st.setString(1, "plain"));
        all.put("word LIKE ? ", st -> st.setString(1, "pl%n"));
        all.put("flag = ?", st -> st.setBoolean(1, true));
        all.put("day = ?", st -> st.setDate(1, java.sql.Date.valueOf("2024-02-29")));
        all.put("day > ?", st -> st.setObject(1, LocalDate.of(2024, 1, 1)));
        all.put("clock = ?", st -> st.setObject(1, LocalTime.of(12, 34, 56)));
        all.put("clock >= ?", st -> st.setTime(1, Time.valueOf("23:00:00")));
        all.put("clock_tz = ?", st -> st.setObject(1, OffsetTime.of(12, 34, 56, 0, ZoneOffset.ofHours(2))));
        all.put("moment = ?", st -> st.setTimestamp(1, Timestamp.valueOf("2024-02-29 12:34:56.789")));
        all.put("moment < ?", st -> st.setObject(1, LocalDateTime.of(2000, 1, 1, 0, 0)));
        all.put("moment_tz = ?", st -> st.setObject(1, OffsetDateTime.of(2024, 2, 29, 13, 34, 56, 789000000, ZoneOffset.ofHours(1))));
        all.put("moment_tz <= ?", st -> st.setTimestamp(1, Timestamp.valueOf("2000-01-01 00:00:00")));
        all.put("span = ?", st -> st.setObject(1, new org.postgresql.util.PGInterval(1, 2, 3, 4, 5, 6.7)));
        all.put("uid = ?", st -> st.setObject(1, UUID.fromString("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")));
        all.put("raw = ?", st -> st.setBytes(1, new byte[] {0, (byte) 255, 16}));
        all.put("ints = ?", st -> st.setArray(1, c.createArrayOf("int4", new Integer[] {1, 2, 3})));
        all.put("words = ?", st -> st.setArray(1, c.createArrayOf("text", new String[] {"a", "b"})));
        all.put("id = ANY (?)", st -> st.setArray(1, c.createArrayOf("int4", new Object[] {1, 5, null})));
        all.put("word = ANY (?)", st -> st.setArray(1, c.createArrayOf("varchar", new String[] {"plain", ""})));
        all.put("id IN (?, ?)", st -> { st.setInt(1, 2); st.setObject(2, "3", Types.INTEGER); });
        all.put("whole > ? OR word = ?", st -> { st.setNull(1, Types.INTEGER); st.setString(2, ""); });
        all.put("id + ? > 5", st -> st.setInt(1, 2));
        all.put("id BETWEEN ? AND ?::int", st -> { st.setLong(1, 2); st.setString(2, "3"); });
        all.put("moment_tz > now() - ? * interval '1 day'", st -> st.setInt(1, 10));
        all.put("date_trunc(?, moment) = ?", st -> { st.setString(1, "month"); st.setObject(2, LocalDateTime.of(2024, 2, 1, 0, 0)); });
        all.put("coalesce(word, ?) = ?", st -> { st.setString(1, "none"); st.setString(2, "none"); });
        all.put("true ORDER BY id LIMIT ? OFFSET ?", st -> { st.setInt(1, 2); st.setInt(2, 1); });
        section("parameters", () -> {
            for (Map.Entry<String, Setter> e : all.entrySet()) {
                attempt(() -> {
                    try (PreparedStatement st = c.prepareStatement("SELECT id FROM everything WHERE " + e.getKey())) {
                        for (int i = 0; i < 7; i++) {
                            e.getValue().set(st);
                            StringJoiner ids = new StringJoiner(",");
                            try (ResultSet rs = st.executeQuery()) {
                                while (rs.next()) {
                                    ids.add(rs.getString(1));
                                }
                            }
                            if (i % 6 == 0) {
                                print(e.getKey(), i, st.unwrap(PGStatement.class).isUseServerPrepare(), ids);
                            }
                        }
                    }
                });
            }
        });
        section("parameter types", () -> {
            String[] statements = {"SELECT * FROM orders WHERE id = ? AND customer_id = ? AND amount > ? AND placed = ? AND note = ?", "SELECT ?::int8, ?::date, ? || 'x'",
                "SELECT count(*) FROM everything WHERE flag = ? AND moment_tz < ? AND uid = ? AND ints = ?", "SELECT id FROM orders LIMIT ? OFFSET ?"};
            for (String sql : statements) {
                attempt(() -> {
                    try (PreparedStatement st = c.prepareStatement(sql)) {
                        ParameterMetaData m = st.getParameterMetaData();
                        for (int i = 1; i <= m.getParameterCount(); i++) {
                            print(i, m.getParameterTypeName(i), m.getParameterType(i), m.getParameterClassName(i));
                        }
                    }
                });
            }
        });
        section("echo", () -> {
            try (PreparedStatement st = c.prepareStatement("SELECT ?::int4 AS i, ?::text AS t, ?::numeric AS n, ?::timestamptz AS m, ?::bytea AS b, ?::float8 AS f, ?::bool AS o, ?::uuid AS u, ?::int8[] AS l")) {
                for (int i = 0; i < 7; i++) {
                    st.setInt(1, -5);
                    st.setString(2, "é'x\\");
                    st.setBigDecimal(3, new BigDecimal("12345678901234567890.123456789"));
                    st.setObject(4, OffsetDateTime.of(2024, 2, 29, 12, 0, 0, 123456000, ZoneOffset.UTC));
                    st.setBytes(5, new byte[] {0, 39, 92, (byte) 200});
                    st.setDouble(6, 1e-300);
                    st.setBoolean(7, false);
                    st.setObject(8, new UUID(1, 2));
                    st.setArray(9, c.createArrayOf("int8", new Long[] {1L, null, -3L}));
                    if (i % 6 == 0) {
                        values(st);
                    } else {
                        st.executeQuery().close();
                    }
                }
            }
        });
    }

    static void fetching(Connection c) {
        section("fetch size", () -> {
            c.setAutoCommit(false);
            try (Statement st = c.createStatement()) {
                st.setFetchSize(7);
                ResultSet rs = st.executeQuery("SELECT id, amount, note FROM orders ORDER BY id");
                long n = 0, sum = 0;
                while (rs.next()) {
                    n++;
                    sum += rs.getLong(1) * 31 + rs.getBigDecimal(2).unscaledValue().longValue();
                }
                print(n, sum);
                // Another statement between two pieces, and one that is left in the middle.
                rs = st.executeQuery("SELECT id FROM orders ORDER BY id DESC");
                try (Statement other = c.createStatement()) {
                    for (int i = 0; i < 10; i++) {
                        rs.next();
                        ResultSet one = other.executeQuery("SELECT note FROM orders WHERE id = " + rs.getLong(1));
                        one.next();
                        print(rs.getLong(1), one.getString(1));
                    }
                }
                rs.close();
                st.setMaxRows(5);
                rs = st.executeQuery("SELECT id FROM orders ORDER BY id");
                while (rs.next()) {
                    print(rs.getLong(1));
                }
            }
            c.commit();
            try (PreparedStatement st = c.prepareStatement("SELECT id, line FROM shop.items WHERE quantity >= ? ORDER BY 1, 2")) {
                for (int round = 0; round < 7; round++) {
                    st.setFetchSize(100);
                    st.setInt(1, 2);
                    attempt(() -> st.executeQuery());
                    c.rollback();
                }
            }
            try (PreparedStatement st = c.prepareStatement("SELECT order_id, line FROM shop.items WHERE quantity >= ? ORDER BY 1, 2")) {
                for (int round = 0; round < 7; round++) {
                    st.setFetchSize(100);
                    st.setInt(1, 2);
                    ResultSet rs = st.executeQuery();
                    int n = 0;
                    for (; rs.next(); n++) {
                    }
                    print(n);
                }
            }
            c.commit();
            c.setAutoCommit(true);
        });
        section("scrolling", () -> {
            try (Statement st = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_READ_ONLY)) {
                ResultSet rs = st.executeQuery("SELECT id FROM customers ORDER BY id");
                rs.last();
                print(rs.getRow(), rs.getInt(1));
                rs.absolute(10);
                print(rs.getInt(1));
                rs.relative(-3);
                print(rs.getInt(1));
            }
        });
        section("updatable", () -> {
            try (Statement st = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
                ResultSet rs = st.executeQuery("SELECT id, name FROM customers ORDER BY id");
                rs.next();
                rs.updateString("name", "other");
                rs.updateRow();
            }
        });
    }

    static final String SLOW = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";

    static void cancelling(Connection c) {
        section("cancel", () -> {
            try (Statement st = c.createStatement()) {
                ScheduledExecutorService later = Executors.newSingleThreadScheduledExecutor();
                later.schedule(() -> { st.cancel(); return null; }, 500, TimeUnit.MILLISECONDS);
                attempt(() -> st.executeQuery(SLOW));
                later.shutdown();
                ResultSet rs = st.executeQuery("SELECT 1");
                rs.next();
                print(rs.getInt(1));
            }
        });
        section("query timeout", () -> {
            try (Statement st = c.createStatement()) {
                st.setQueryTimeout(1);
                attempt(() -> st.executeQuery(SLOW));
                ResultSet rs = st.executeQuery("SELECT 2");
                rs.next();
                print(rs.getInt(1));
            }
            try (Statement st = c.createStatement()) {
                st.execute("SET statement_timeout = 300");
                attempt(() -> st.executeQuery(SLOW));
                st.execute("RESET statement_timeout");
            }
        });
    }

    static void failing(Connection c) {
        section("errors", () -> {
            String[] statements = {"SELECT * FROM nowhere", "SELECT nothing FROM orders", "SELEC 1", "SELECT nofunction(1)", "SELECT 1/0", "SELECT 'x'::int", "SELECT '2024-02-30'::date", "SELECT 'x'::uuid",
                "SELECT 99999999999::int4", "SELECT * FROM noschema.t", "SELECT id FROM orders GROUP BY status", "SELECT sum(id) FROM orders WHERE sum(id) > 1", "SELECT (SELECT id FROM orders)", "SELECT o.id, id FROM orders o, customers c",
                "INSERT INTO orders (id) VALUES (0)", "UPDATE orders SET note = 'x'", "DELETE FROM orders", "CREATE TABLE public.t (i int)", "DROP TABLE orders", "TRUNCATE orders", "SELECT 1 WHERE 'a'", "SELECT 1 +", "SELECT 'a' + 1",
                "SELECT 1 UNION SELECT 1, 2", "SELECT * FROM orders WHERE id = 'abc'", "SET nosuchsetting = 1", "SHOW nosuchsetting", "SELECT $1", "SELECT -32768::int2 * 32767::int2 * 100", "SELECT 9223372036854775807 + 1", "ROLLBACK TO SAVEPOINT x",
                "SELECT id FROM orders LIMIT -1", "SELECT ARRAY[1,2] || 'x'", "SELECT cast('a' AS nosuchtype)", "SELECT * FROM orders ORDER BY 99", "SELECT id id2 FROM orders WHERE id2 = 1", "FETCH 1 FROM nocursor", "EXECUTE noplan", "SELECT currval('s')"};
            for (String sql : statements) {
                System.out.print(sql + ": ");
                attempt(() -> {
                    try (Statement st = c.createStatement()) {
                        st.execute(sql);
                        print("done");
                    }
                });
            }
        });
        section("error position", () -> {
            try (Statement st = c.createStatement()) {
                st.execute("SELECT id,\n nothing FROM orders");
            } catch (org.postgresql.util.PSQLException e) {
                print(e.getServerErrorMessage().getSeverity(), e.getServerErrorMessage().getMessage(), e.getServerErrorMessage().getPosition());
            }
        });
    }

    static void transactions(Connection c) {
        section("transactions", () -> {
            c.setAutoCommit(false);
            try (Statement st = c.createStatement()) {
                st.execute("SELECT 1");
                attempt(() -> st.execute("SELECT nothing"));
                attempt(() -> st.execute("SELECT 1"));
                c.rollback();
                Savepoint s = c.setSavepoint("one");
                attempt(() -> st.execute("SELECT nothing"));
                c.rollback(s);
                ResultSet rs = st.executeQuery("SELECT count(*) FROM orders");
                rs.next();
                print(rs.getLong(1));
                c.releaseSavepoint(s);
                c.commit();
                c.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
                print(c.getTransactionIsolation());
                st.execute("SELECT 1");
                c.commit();
                c.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
                c.setReadOnly(true);
                st.execute("SELECT 1");
                attempt(() -> st.execute("DELETE FROM orders"));
                c.rollback();
            }
            c.setAutoCommit(true);
            try (Statement st = c.createStatement()) {
                for (String sql : List.of("BEGIN", "SET LOCAL statement_timeout = 1000", "COMMIT", "SHOW statement_timeout", "SHOW transaction_read_only", "SHOW search_path", "SHOW client_encoding", "SHOW DateStyle", "SHOW standard_conforming_strings", "SHOW TimeZone",
                    "SET application_name = 'x'", "SHOW application_name", "RESET ALL", "DISCARD ALL", "DEALLOCATE ALL")) {
                    boolean gives = st.execute(sql);
                    if (gives) {
                        ResultSet rs = st.getResultSet();
                        rs.next();
                        print(sql, rs.getMetaData().getColumnLabel(1), rs.getString(1));
                    } else {
                        print(sql, st.getUpdateCount());
                    }
                }
            }
        });
        section("several statements", () -> {
            try (Statement st = c.createStatement()) {
                boolean gives = st.execute("SELECT 1 AS a; SET application_name = 'y'; SELECT id, status FROM orders WHERE id < 3 ORDER BY id");
                while (gives || st.getUpdateCount() != -1) {
                    if (gives) {
                        rows(st.getResultSet());
                    } else {
                        print(st.getUpdateCount());
                    }
                    gives = st.getMoreResults();
                }
            }
        });
        section("batch", () -> {
            try (Statement st = c.createStatement()) {
                st.addBatch("SET application_name = 'a'");
                st.addBatch("SET application_name = 'b'");
                print(Arrays.toString(st.executeBatch()));
            }
            try (PreparedStatement st = c.prepareStatement("INSERT INTO orders (id, note) VALUES (?, ?)")) {
                for (int i = 0; i < 10; i++) {
                    st.setInt(1, -i);
                    st.setString(2, "n");
                    st.addBatch();
                }
                attempt(() -> st.executeBatch());
            }
            try (Statement st = c.createStatement()) {
                st.addBatch("SET application_name = 'c'");
                st.addBatch("DELETE FROM orders");
                st.addBatch("SET application_name = 'd'");
                try {
                    st.executeBatch();
                } catch (BatchUpdateException e) {
                    print(e.getSQLState(), Arrays.toString(e.getUpdateCounts()));
                }
            }
        });
    }

    static void copying(Connection c) {
        section("copy", () -> {
            CopyManager m = c.unwrap(PGConnection.class).getCopyAPI();
            for (String how : List.of("", " WITH (FORMAT csv, HEADER)", " WITH (FORMAT csv, DELIMITER ';', NULL 'none', FORCE_QUOTE *)", " WITH (FORMAT text, DELIMITER '|')")) {
                StringWriter w = new StringWriter();
                print(m.copyOut("COPY (SELECT id, flag, amount, word, day, moment_tz, raw, words FROM everything ORDER BY id) TO STDOUT" + how, w));
                System.out.print(w.toString().replace("==", "="));
            }
            java.io.ByteArrayOutputStream b = new java.io.ByteArrayOutputStream();
            print(m.copyOut("COPY (SELECT id, big, double_, word, uid, moment FROM everything ORDER BY id) TO STDOUT (FORMAT binary)", b));
            print(HexFormat.of().formatHex(b.toByteArray()));
            print(m.copyOut("COPY customers (id, city) TO STDOUT", new StringWriter()));
        });
    }

    static void queries(Connection c) {
        section("queries", () -> {
            String[] statements = {
                "SELECT city, count(*) AS n, count(*) FILTER (WHERE active) AS active, min(created) AS first FROM customers GROUP BY city ORDER BY n DESC, city",
                "SELECT c.city, sum(o.amount) AS total, avg(o.amount)::numeric(12,4) AS mean, max(o.placed) FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY c.city HAVING sum(o.amount) > 1 ORDER BY total DESC",
                "SELECT date_trunc('month', placed)::date AS month, status, count(*) FROM orders GROUP BY 1, 2 ORDER BY 1, 2",
                "WITH best AS (SELECT customer_id, sum(amount) AS s FROM orders GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5) SELECT c.name, b.s, rank() OVER (ORDER BY b.s DESC) FROM best b JOIN customers c ON c.id = b.customer_id ORDER BY 3, 1",
                "SELECT id, lag(amount) OVER (PARTITION BY customer_id ORDER BY id) AS before FROM orders WHERE customer_id = 3 ORDER BY id LIMIT 10",
                "SELECT \"Id\", \"Some Name\", \"select\" FROM shop.\"Mixed Case\" ORDER BY \"select\" DESC",
                "SELECT id, doc->>'a' AS a, doc->'a'->0 AS zero FROM everything WHERE doc IS NOT NULL AND id = 1",
                "SELECT {fn concat('a', 'b')}, {fn length('abc')}, {d '2024-01-02'}, {ts '2024-01-02 03:04:05'}",
                "SELECT current_user, session_user, current_schema, current_database() = current_catalog",
                "SELECT status, string_agg(DISTINCT city, ',' ORDER BY city) FROM orders o JOIN customers c ON c.id = customer_id GROUP BY status ORDER BY status",
                "SELECT EXTRACT(year FROM created) AS y, to_char(created, 'YYYY-MM') AS m, count(*) FROM customers GROUP BY 1, 2 ORDER BY 2",
                "SELECT 7 / 2, 7 % 3, 7.0 / 2, 2 ^ 3, round(2.567, 2), 'a' || 1, upper('x'), substring('hello' FROM 2 FOR 3), position('l' IN 'hello')",
                "SELECT generate_series AS g FROM generate_series(1, 3)", "SELECT unnest(ARRAY[1, 2]) AS u", "VALUES (1, 'a'), (2, NULL)", "TABLE shop.\"Mixed Case\"",
                "SELECT * FROM customers WHERE name ILIKE '%R 1_' AND city IS NOT NULL ORDER BY id", "SELECT id FROM orders WHERE note IS NULL ORDER BY amount DESC NULLS LAST, id LIMIT 5",
                "SELECT order_id, lines FROM totals ORDER BY order_id LIMIT 3", "SELECT DISTINCT ON (status) status, id FROM orders ORDER BY status, id DESC",
                "SELECT * FROM (SELECT id, row_number() OVER (ORDER BY id DESC) AS r FROM customers) x WHERE r <= 3 ORDER BY r", "SELECT CASE WHEN id > 50 THEN 'big' ELSE 'small' END AS size, count(*) FROM customers GROUP BY 1 ORDER BY 1",
                "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY amount) FROM orders", "SELECT count(DISTINCT customer_id), bool_and(id > 0), array_agg(id ORDER BY id) FILTER (WHERE id < 4) FROM orders",
                "SELECT id FROM orders WHERE placed >= DATE '2024-12-30' AND placed < DATE '2024-12-30' + INTERVAL '1 day' ORDER BY 1 LIMIT 3", "SELECT a.id FROM customers a WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = a.id AND o.amount > 99.9) ORDER BY 1 LIMIT 5"};
            for (String sql : statements) {
                print(sql);
                attempt(() -> {
                    try (PreparedStatement st = c.prepareStatement(sql)) {
                        describe(st.getMetaData());
                        values(st);
                    }
                });
            }
        });
    }

    public static void main(String[] args) throws Exception {
        System.setOut(new java.io.PrintStream(System.out, true, StandardCharsets.UTF_8));
        url = "jdbc:postgresql://" + args[0] + ":" + args[1] + "/" + args[2];
        user = args[3];
        password = args[4];
        TimeZone.setDefault(TimeZone.getTimeZone("UTC"));
        try (Connection c = connect()) {
            metadata(c);
            tables("text", c);
            parameters(c);
            fetching(c);
            cancelling(c);
            failing(c);
            transactions(c);
            copying(c);
            queries(c);
        }
        try (Connection c = connect("prepareThreshold=-1")) {
            tables("binary", c);
        }
        try (Connection c = connect("preferQueryMode=simple")) {
            tables("simple", c);
        }
        try (Connection c = connect("preferQueryMode=extendedForPrepared", "defaultRowFetchSize=3", "options=-c statement_timeout=60000", "currentSchema=shop")) {
            c.setAutoCommit(false);
            section("with options", () -> {
                rows(c.createStatement().executeQuery("SHOW statement_timeout"));
                rows(c.createStatement().executeQuery("SELECT order_id, line, product FROM public.totals_lines JOIN shop.items USING (order_id, line) ORDER BY 1, 2 LIMIT 10"));
                rows(c.createStatement().executeQuery("SELECT count(*) FROM items"));
            });
        }
        section("wrong password", () -> {
            password += "x";
            connect().close();
        });
    }
}
