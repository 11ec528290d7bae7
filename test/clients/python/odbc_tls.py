"""Connects over TLS. Arguments: host, port, database, user, password, certificate of the authority."""
import sys

import pyodbc

host, port, database, user, password, root = sys.argv[1:7]


def connect(mode, root):
    # libpq's options go through pqopt.
    return pyodbc.connect(f"Driver={{PostgreSQL Unicode}};Servername={host};Port={port};Database={database};Username={user};Password={{{password}}};SSLmode={mode};pqopt={{sslrootcert={root}}}")


connect("require", "/nowhere").close()
cur = connect("verify-full", root).cursor()
print(cur.execute("SELECT count(*) FROM customers").fetchone()[0], "customers over TLS")
try:
    connect("verify-full", "/etc/ssl/certs/ca-certificates.crt")
    print("taken")
except pyodbc.Error:
    print("refused")
