// Works with a PostgreSQL through Sequelize, Knex and TypeORM and prints what it sees. Arguments: host, port, database, user, password.
'use strict';
const { DataTypes, Op, QueryTypes, Sequelize, fn, col, literal } = require('sequelize');
const knex = require('knex');
const { DataSource, EntitySchema } = require('typeorm');

const [host, port, database, user, password] = process.argv.slice(2);
const show = (v) => JSON.stringify(v);

async function attempt(body) {
  try {
    await body();
  } catch (e) {
    console.log('error', (e.original && e.original.code) || e.code || e.message);
    console.error(e.message);
  }
}

async function section(name, body) {
  console.log('==', name);
  await attempt(body);
}

async function sequelize() {
  const s = new Sequelize(database, user, password, { host, port: Number(port), dialect: 'postgres', logging: false, pool: { max: 2 } });
  const q = s.getQueryInterface();
  await section('sequelize tables', async () => {
    await s.authenticate();
    console.log(show(await s.databaseVersion().then((v) => v.split('.')[0])));
    console.log(show((await q.showAllSchemas()).map((x) => x.schema_name || x).sort()));
    console.log(show((await q.showAllTables()).map((t) => t.tableName || t).sort()));
    console.log(show(await q.tableExists('orders')), show(await q.tableExists('nowhere')));
  });
  for (const table of ['everything', 'varied', 'orders', { tableName: 'items', schema: 'shop' }, { tableName: 'Mixed Case', schema: 'shop' }]) {
    await section('sequelize table ' + (table.tableName || table), async () => {
      const columns = await q.describeTable(table);
      for (const name of Object.keys(columns)) console.log(name, show(columns[name]));
      console.log(show(await q.getForeignKeyReferencesForTable(table)));
    });
  }
  await section('sequelize indexes', async () => {
    for (const table of ['orders', { tableName: 'items', schema: 'shop' }]) for (const i of await q.showIndex(table)) console.log(show(i));
  });
  const Customer = s.define('Customer', { id: { type: DataTypes.INTEGER, primaryKey: true }, name: DataTypes.TEXT, city: DataTypes.TEXT, created: DataTypes.DATE, active: DataTypes.BOOLEAN }, { tableName: 'customers', timestamps: false });
  const Order = s.define('Order', { id: { type: DataTypes.BIGINT, primaryKey: true }, customer_id: DataTypes.INTEGER, amount: DataTypes.DECIMAL(10, 2), placed: DataTypes.DATEONLY, status: DataTypes.TEXT }, { tableName: 'orders', timestamps: false });
  Customer.hasMany(Order, { foreignKey: 'customer_id', as: 'orders' });
  Order.belongsTo(Customer, { foreignKey: 'customer_id', as: 'customer' });
  await section('sequelize queries', async () => {
    console.log(show(await Customer.findAll({ where: { city: 'Lyon', id: { [Op.lt]: 30 } }, order: [['id', 'DESC']], limit: 3, offset: 1, raw: true })));
    console.log(show(await Customer.findAll({ where: { id: [2, 3] }, include: [{ model: Order, as: 'orders', where: { amount: { [Op.gt]: 50 } }, required: false }], order: ['id', ['orders', 'id', 'ASC']] })).slice(0, 2000));
    console.log(show(await Order.findAll({ attributes: ['status', [fn('COUNT', col('id')), 'n'], [fn('SUM', col('amount')), 'total']], group: ['status'], order: [[literal('total'), 'DESC']], raw: true })));
    console.log(show(await Order.findAndCountAll({ where: { status: { [Op.in]: ['new', 'paid'] }, placed: { [Op.between]: ['2024-02-01', '2024-02-10'] } }, include: [{ model: Customer, as: 'customer' }], limit: 2, order: ['id'] })));
    console.log(await Customer.count({ where: { name: { [Op.iLike]: '%R 1_' }, active: true } }), await Order.max('amount'), show(await Customer.findByPk(7)));
    console.log(show(await s.query('SELECT id FROM customers WHERE city = $city OR id = $id ORDER BY id LIMIT 3', { bind: { city: 'Osaka', id: 1 }, type: QueryTypes.SELECT })));
    console.log(show(await s.query('SELECT id FROM customers WHERE city IN (:cities) ORDER BY id LIMIT 3', { replacements: { cities: ['Osaka', 'Lyon'] }, type: QueryTypes.SELECT })));
    await s.transaction(async (t) => console.log(await Order.count({ transaction: t })));
    await attempt(() => Customer.create({ id: 1000, name: 'x' }));
    await attempt(() => Customer.update({ name: 'x' }, { where: { id: 1 } }));
  });
  await s.close();
}

async function knexes() {
  const k = knex({ client: 'pg', connection: { host, port: Number(port), database, user, password }, pool: { min: 0, max: 2 } });
  await section('knex schema', async () => {
    console.log(await k.schema.hasTable('orders'), await k.schema.hasTable('nowhere'), await k.schema.withSchema('shop').hasTable('items'), await k.schema.hasColumn('orders', 'amount'));
    for (const table of ['everything', 'orders', 'totals']) console.log(show(await k(table).columnInfo()));
    console.log(show(await k('items').withSchema('shop').columnInfo()));
  });
  await section('knex queries', async () => {
    console.log(show(await k('customers').where('id', '<', 4).whereNotNull('city').orderBy('id').select('id', 'city', 'created')));
    console.log(show(await k('orders').join('customers', 'customers.id', 'orders.customer_id').whereIn('status', ['new', 'sent']).groupBy('city').select('city').sum('amount as total').count('* as n').orderBy('total', 'desc').limit(3)));
    console.log(show(await k('orders').where({ status: 'paid' }).andWhereRaw('amount > ?', [99]).orderBy('id').first()));
    console.log(show(await k.with('best', k('orders').select('customer_id').sum('amount as s').groupBy('customer_id')).select('*').from('best').orderBy('s', 'desc').limit(2)));
    console.log(show((await k.raw('SELECT ?::int + 1 AS n, ?? FROM customers WHERE id = ?', [1, 'city', 5])).rows));
    console.log(show(await k('customers').withSchema('public').whereILike('name', '%r 1_').countDistinct('city')));
    let n = 0;
    await k.transaction(async (t) => {
      n = (await t('orders').where('id', 1)).length;
    }, { readOnly: true });
    console.log(n);
    await attempt(() => k('orders').insert({ id: 0 }));
    await attempt(() => k('orders').where('id', 1).del());
  });
  await k.destroy();
}

async function typeorm() {
  const Customer = new EntitySchema({ name: 'Customer', tableName: 'customers', columns: { id: { type: 'int', primary: true }, name: { type: 'text', nullable: true }, city: { type: 'text', nullable: true }, created: { type: 'timestamptz', nullable: true }, active: { type: 'boolean', nullable: true } } });
  const Item = new EntitySchema({ name: 'Item', tableName: 'items', schema: 'shop', columns: { order_id: { type: 'bigint', primary: true }, line: { type: 'smallint', primary: true }, product: { type: 'text', nullable: true }, price: { type: 'numeric', precision: 8, scale: 2, nullable: true } } });
  const source = new DataSource({ type: 'postgres', host, port: Number(port), database, username: user, password, entities: [Customer, Item], synchronize: false, installExtensions: false });
  await section('typeorm tables', async () => {
    await source.initialize();
    const runner = source.createQueryRunner();
    console.log(await runner.hasDatabase(database), await runner.hasSchema('shop'), await runner.hasTable('orders'), await runner.hasTable('shop.nowhere'), await runner.hasColumn('orders', 'amount'), await runner.getCurrentSchema());
    const tables = await runner.getTables(['everything', 'customers', 'orders', 'shop.items', 'shop.Mixed Case']);
    tables.sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const t of tables) {
      console.log(t.name);
      for (const c of t.columns) console.log('  ', c.name, c.type, c.isArray, c.isNullable, c.isPrimary, c.isGenerated, c.length, c.precision, c.scale, c.default, c.primaryKeyConstraintName);
      console.log('  ', show([t.indices, t.foreignKeys, t.uniques, t.checks]));
    }
    console.log(show((await runner.getViews([])).map((v) => v.name)));
    await runner.release();
  });
  await section('typeorm queries', async () => {
    console.log(show(await source.getRepository('Customer').find({ where: { city: 'Lyon' }, order: { id: 'ASC' }, take: 2, skip: 1 })));
    console.log(show(await source.getRepository('Item').findAndCount({ where: { order_id: '7' }, order: { line: 'ASC' }, take: 2 })));
    console.log(show(await source.getRepository('Item').createQueryBuilder('i').select('i.product', 'product').addSelect('SUM(i.price)', 'total').where('i.line > :line', { line: 1 }).groupBy('i.product').orderBy('total', 'DESC').limit(3).getRawMany()));
    console.log(show(await source.query('SELECT count(*) AS n FROM orders WHERE status = $1', ['new'])));
    console.log(show(await source.transaction('REPEATABLE READ', (m) => m.query('SELECT 1 AS one'))));
    await attempt(() => source.getRepository('Customer').save({ id: 5, name: 'x' }));
    const stream = await source.getRepository('Item').createQueryBuilder('i').orderBy('i.order_id').stream().catch((e) => e.name);
    console.log(typeof stream === 'string' ? stream : 'stream');
  });
  await source.destroy();
}

sequelize().then(knexes).then(typeorm).then(() => process.exit(0), (e) => {
  console.error(e);
  process.exit(1);
});
