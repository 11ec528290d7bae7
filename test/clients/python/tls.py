"""Connects over TLS. Arguments: host, port, database, user, password, certificate of the authority."""
import sys

import psycopg2

host, port, database, user, password, root = sys.argv[1:7]


def connect(**more):
    return psycopg2.connect(host=host, port=port, dbname=database, user=user, password=password, **more)


connect(sslmode="require").close()
c = connect(sslmode="verify-full", sslrootcert=root)
assert c.info.ssl_in_use
cur = c.cursor()
cur.execute("SELECT count(*) FROM customers")
print(cur.fetchone()[0], "customers over TLS")
try:
    connect(sslmode="verify-full", sslrootcert="/etc/ssl/certs/ca-certificates.crt")
    print("taken")
except psycopg2.OperationalError:
    print("refused")
