// Connects over TLS. Arguments: host, port, database, user, password, certificate of the authority.
'use strict';
const fs = require('fs');
const { Client } = require('pg');
const postgres = require('postgres');

const [host, port, database, user, password, root] = process.argv.slice(2);

async function main() {
  const ca = fs.readFileSync(root, 'utf8');
  const c = new Client({ host, port: Number(port), database, user, password, ssl: { ca } });
  await c.connect();
  const n = (await c.query('SELECT count(*) FROM customers')).rows[0].count;
  await c.end();
  const sql = postgres({ host, port: Number(port), database, username: user, password, ssl: { ca }, max: 1 });
  const [row] = await sql`SELECT count(*) FROM customers`;
  await sql.end();
  console.log(n === row.count ? n : 'different', 'customers over TLS');
  const other = new Client({ host, port: Number(port), database, user, password, ssl: true });
  await other.connect().then(() => console.log('taken'), () => console.log('refused'));
}

main().then(() => process.exit(0), (e) => {
  console.error(e);
  process.exit(1);
});
