import java.sql.*;
import java.util.Properties;

/** Connects over TLS. Arguments: host, port, database, user, password, certificate of the authority. */
public class TLS {
    static Connection connect(String[] args, String mode, String root) throws SQLException {
        Properties p = new Properties();
        p.setProperty("user", args[3]);
        p.setProperty("password", args[4]);
        p.setProperty("sslmode", mode);
        if (root != null) {
            p.setProperty("sslrootcert", root);
        }
        return DriverManager.getConnection("jdbc:postgresql://" + args[0] + ":" + args[1] + "/" + args[2], p);
    }

    public static void main(String[] args) throws Exception {
        connect(args, "require", null).close();
        try (Connection c = connect(args, "verify-full", args[5]); Statement st = c.createStatement()) {
            ResultSet rs = st.executeQuery("SELECT count(*) FROM customers");
            rs.next();
            System.out.println(rs.getInt(1) + " customers over TLS");
        }
        try {
            connect(args, "verify-full", "/etc/ssl/certs/ca-certificates.crt").close();
            System.out.println("taken");
        } catch (SQLException e) {
            System.out.println("refused");
        }
    }
}
