// Works with a PostgreSQL through node-postgres, pg-cursor and postgres.js and prints what it sees. Arguments: host, port, database, user, password.
'use strict';
const { Client, Pool, types } = require('pg');
const Cursor = require('pg-cursor');
const postgres = require('postgres');

const [host, port, database, user, password] = process.argv.slice(2);
const config = { host, port: Number(port), database, user, password };
const SLOW = 'SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b';
const TABLES = ['everything', 'varied', 'shop."Mixed Case"', 'shop.nothing', 'totals'];

// JSON tells a Buffer from a text, and a NaN from a null.
const show = (v) => JSON.stringify(v, function (k, x) {
  const raw = this[k];
  if (Buffer.isBuffer(raw) || raw instanceof Uint8Array) return 'bytes ' + Buffer.from(raw).toString('hex');
  if (typeof raw === 'bigint') return String(raw) + 'n';
  if (typeof raw === 'number' && !Number.isFinite(raw)) return String(raw);
  if (raw instanceof Date && isNaN(raw)) return 'no date';
  return x;
});

async function attempt(body) {
  try {
    await body();
  } catch (e) {
    console.log('error', e.code || e.message);
    console.error(e.message);
  }
}

async function section(name, body) {
  console.log('==', name);
  await attempt(body);
}

async function nodePostgres() {
  const c = new Client({ ...config, application_name: 'the client' });
  await c.connect();
  for (const table of TABLES) {
    await section('pg ' + table, async () => {
      const r = await c.query(`SELECT * FROM ${table} ORDER BY 1`);
      for (const f of r.fields) console.log(f.name, f.dataTypeID < 16384 ? f.dataTypeID : 'own', f.dataTypeSize, f.dataTypeModifier, f.format);
      console.log(r.command, r.rowCount);
      for (const row of r.rows) console.log(show(row));
    });
  }
  await section('pg binary', async () => {
    const r = await c.query({ text: 'SELECT id, flag, small, whole, big, double_, word, moment_tz FROM everything ORDER BY 1', binary: true });
    for (const row of r.rows) console.log(show(row));
  });
  await section('pg arrays of rows', async () => {
    const r = await c.query({ text: 'SELECT id, city FROM customers WHERE id < $1 ORDER BY id', values: [4], rowMode: 'array' });
    console.log(show(r.rows), show(r.fields.map((f) => f.name)));
  });
  await section('pg parameters', async () => {
    const cases = [['whole = $1', [42]], ['big = $1', ['4200000000']], ['big = $1', [4200000000n]], ['amount = $1', ['1234.5']], ['double_ < $1', [0.5]], ['word = $1', ['plain']], ['flag = $1', [true]], ['day = $1', ['2024-02-29']],
      ['moment_tz = $1', [new Date('2024-02-29T12:34:56.789Z')]], ['moment_tz < $1::timestamptz - $2::interval', [new Date('2024-03-29T12:34:56.789Z'), '1 month']], ['uid = $1', ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11']], ['raw = $1', [Buffer.from([0, 255, 16])]], ['id = ANY($1)', [[1, 4]]],
      ['word = ANY($1::text[])', [['plain', '']]], ['ints = $1', [[1, 2, 3]]], ['words @> $1', [['a']]], ["doc->>'a' = $1", ['x']], ['word IS NOT DISTINCT FROM $1', [null]], ['id > $1 ORDER BY id LIMIT $2', [1, 2]], ["word LIKE $1 || '%'", ['pl']], ['id = $1', ['no number']]];
    for (const [where, values] of cases) {
      for (const name of [undefined, 'named ' + where]) {
        await attempt(async () => {
          for (let i = 0; i < 2; i++) {
            const r = await c.query({ name, text: 'SELECT id FROM everything WHERE ' + where, values });
            console.log(where, show(r.rows.map((row) => row.id).sort()));
          }
        });
      }
    }
    const r = await c.query('SELECT $1::int AS i, $2::text AS t, $3::jsonb AS j, $4::text[] AS l, $5::float8 AS f, $6::bool AS b', [1, "é'\\", { a: [1] }, ['x', null, 'a"b'], 1.5, false]);
    console.log(show(r.rows));
  });
  await section('pg several statements', async () => {
    const r = await c.query("SELECT 1 AS a; SET application_name = 'x'; SELECT 'b' AS b");
    console.log(show(r.map((x) => [x.command, x.rowCount, x.rows])));
    console.log(show(await c.query('').then((x) => [x.command, x.rows])));
  });
  await section('pg errors', async () => {
    for (const sql of ['SELECT * FROM nowhere', 'SELECT nothing FROM orders', 'SELEC', 'SELECT 1/0', 'INSERT INTO orders (id) VALUES (0)', 'COPY orders FROM STDIN', "SELECT 'x'::int"]) {
      await attempt(() => c.query(sql));
      await attempt(() => c.query({ text: sql, values: [] , name: sql}));
    }
    console.log(show((await c.query('SELECT 1 AS a')).rows));
  });
  await section('pg transactions', async () => {
    await c.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    await attempt(() => c.query('SELECT nothing'));
    await attempt(() => c.query('SELECT 1'));
    console.log((await c.query('COMMIT')).command);
    await c.query('BEGIN');
    console.log(show((await c.query('SELECT count(*) FROM orders')).rows));
    console.log((await c.query('COMMIT')).command);
  });
  await section('pg cursor', async () => {
    const cursor = c.query(new Cursor('SELECT id, note FROM orders WHERE id > $1 ORDER BY id', [100]));
    let n = 0;
    let sum = 0;
    for (let rows = await cursor.read(300); rows.length > 0; rows = await cursor.read(300)) {
      n += rows.length;
      for (const row of rows) sum += Number(row.id);
    }
    console.log(n, sum);
    const left = c.query(new Cursor('SELECT id FROM orders ORDER BY id'));
    console.log(show(await left.read(2)));
    await left.close();
    console.log(show((await c.query('SELECT 2 AS a')).rows));
    const broken = c.query(new Cursor('SELECT 1/(id - 50) AS q FROM customers ORDER BY id'));
    await attempt(() => broken.read(100));
    await attempt(() => broken.close());
  });
  await section('pg cancel', async () => {
    await c.query("SET statement_timeout = '300ms'");
    await attempt(() => c.query(SLOW));
    await c.query('RESET statement_timeout');
    const pool = new Pool({ ...config, max: 3, statement_timeout: 300 });
    await attempt(() => pool.query(SLOW));
    const many = await Promise.all([1, 2, 3, 4, 5, 6].map((i) => pool.query('SELECT name FROM customers WHERE id = $1', [i])));
    console.log(show(many.map((r) => r.rows[0].name)));
    await pool.end();
  });
  await c.end();
  await section('pg wrong password', async () => {
    const other = new Client({ ...config, password: 'x' });
    await other.connect();
  });
}

async function postgresJS() {
  const sql = postgres({ ...config, max: 2, onnotice: () => {} });
  for (const table of TABLES) {
    await section('postgres.js ' + table, async () => {
      const r = await sql.unsafe(`SELECT * FROM ${table} ORDER BY 1`);
      console.log(r.command, r.count, show(r.columns.map((c) => [c.name, c.type < 16384 ? c.type : 'own'])));
      for (const row of r) console.log(show(row));
    });
  }
  await section('postgres.js parameters', async () => {
    const ids = (r) => show(r.map((x) => x.id).sort());
    console.log(ids(await sql`SELECT id FROM everything WHERE whole = ${42}`));
    console.log(ids(await sql`SELECT id FROM everything WHERE word = ${'plain'} AND flag = ${true} AND day = ${'2024-02-29'}`));
    console.log(ids(await sql`SELECT id FROM everything WHERE moment_tz = ${new Date('2024-02-29T12:34:56.789Z')}`));
    console.log(ids(await sql`SELECT id FROM everything WHERE id IN ${sql([1, 2, 99])}`));
    console.log(ids(await sql`SELECT id FROM everything WHERE id = ANY(${[1, 5]})`));
    console.log(ids(await sql`SELECT id FROM everything WHERE word = ANY(${sql.array(['plain', ''])})`));
    console.log(ids(await sql`SELECT id FROM everything WHERE raw = ${Buffer.from([0xde, 0xad, 0xbe, 0xef])}`));
    console.log(ids(await sql`SELECT id FROM everything WHERE big = ${'4200000000'} AND amount > ${1.5} AND uid = ${'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'}`));
    console.log(show(await sql`SELECT ${sql(['id', 'city'])} FROM ${sql('public.customers')} WHERE ${sql`id < ${3}`} ORDER BY id`));
    console.log(show(await sql`SELECT ${sql.json({ a: 1 })}::json AS j, ${null}::text AS n, ${'x'} || 'y' AS t`));
    console.log(show(await sql`SELECT * FROM (VALUES ${sql([[1, 'a'], [2, 'b']])}) v(i, t) ORDER BY v.i`));
  });
  await section('postgres.js cursor', async () => {
    let n = 0;
    let pieces = 0;
    for await (const rows of sql`SELECT id FROM orders ORDER BY id`.cursor(700)) {
      n += rows.length;
      pieces++;
    }
    console.log(n, pieces);
    await sql`SELECT id FROM orders ORDER BY id`.cursor(10, (rows) => (rows[0].id === '21' ? sql.CLOSE : undefined));
    n = 0;
    await sql`SELECT id FROM customers`.forEach(() => n++);
    console.log(n);
  });
  await section('postgres.js transactions', async () => {
    const r = await sql.begin('read only', async (s) => {
      await s.savepoint((inner) => inner`SELECT nothing FROM orders`).catch((e) => console.log('error', e.code));
      return s`SELECT count(*) FROM orders`;
    });
    console.log(show(r));
    await attempt(() => sql.begin((s) => s`DELETE FROM orders`));
    console.log(show(await Promise.all([1, 2, 3, 4, 5].map((i) => sql`SELECT ${i}::int AS i`))));
  });
  await section('postgres.js simple', async () => {
    console.log(show(await sql`SELECT 1 AS a; SELECT 2 AS b`.simple()));
    console.log(show(await sql`SELECT * FROM orders WHERE id = ${1} AND note = ${'x'}`.describe().then((d) => [d.types, d.columns.map((c) => [c.name, c.type])])));
    const values = await sql`SELECT id, city FROM customers ORDER BY id LIMIT 2`.values();
    console.log(show(values), show(await sql`SELECT 'x' AS raw`.raw()));
  });
  await section('postgres.js copy', async () => {
    const from = await sql`COPY (SELECT id, word FROM everything ORDER BY id) TO STDOUT`.readable();
    let text = '';
    for await (const piece of from) text += piece;
    console.log(show(text));
  });
  await section('postgres.js cancel', async () => {
    const q = sql.unsafe(SLOW);
    setTimeout(() => q.cancel(), 500);
    await attempt(() => q);
    console.log(show(await sql`SELECT 3 AS a`));
  });
  await section('postgres.js errors', async () => {
    for (const text of ['SELECT * FROM nowhere', 'SELECT nothing FROM orders', 'SELECT 1/0', 'DROP TABLE orders']) await attempt(() => sql.unsafe(text));
  });
  await sql.end();
}

nodePostgres().then(postgresJS).then(() => process.exit(0), (e) => {
  console.error(e);
  process.exit(1);
});
