/** There is no room on the disk: a 503 that says so, what was stored before is whole, and service goes on when there is room again. */
import { execFileSync } from 'node:child_process'
import { chownSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import { migrationSource } from '../lib/migrations.ts'
import { Browser, createApp } from './fixtures/app.ts'
import { createDatabase, type DatabaseName, missing, openDatabase } from './fixtures/databases.ts'
import { privateFolder } from './fixtures/folders.ts'
import { type Reply, type Site, startSite } from './fixtures/site.ts'

const UNAVAILABLE = { statusCode: 503, code: 'FST_SESSION_STORE_UNAVAILABLE', message: 'The session store is unavailable' }

/** Characters of a value, which deflate cannot make shorter. */
const noise = (length: number) => Array.from({ length }, () => Math.random().toString(36)[2] ?? '0').join('')

function createSite(t: Test, knex: Knex | Knex.Config) {
  return createApp(t, { knex }, (app) => {
    app.get<{ Params: { size: string } }>('/fill/:size', async (request) => {
      request.session.set('count', (count = 0) => count + 1).set('filling', noise(Number(request.params.size)))
      return 'filled'
    })
    app.get('/read', async (request) => (await request.session.load()).toObject())
    app.get('/cycle', async (request) => request.session.cycleKey().then(() => 'cycled'))
    app.get('/flush', async (request) => request.session.flush().then(() => 'flushed'))
  })
}

t.test('SQLite', async (t) => {
  let limit = (_pages: number) => {}
  const config = await createDatabase(t, 'sqlite')
  const knex = createKnex(config)
  t.teardown(() => knex.destroy())
  await knex.migrate.latest({ migrationSource })
  // SQLite answers SQLITE_FULL beyond this size, as it does when the disk has no room.
  const pool: Knex.PoolConfig = {
    afterCreate: (connection: { pragma(setting: string): void }, done: (error: null, connection: unknown) => void) => {
      limit = (pages) => connection.pragma(`max_page_count = ${pages}`)
      done(null, connection)
    }
  }
  const { app, logs } = await createSite(t, { ...config, pool })
  const browser = new Browser(app)
  const bystander = new Browser(app)
  await browser.get('/fill/10')
  await bystander.get('/fill/10')
  const before = (await browser.get('/read')).json()

  limit(1) // which means: as many as there are
  const response = await browser.get('/fill/100000')
  t.match(response.json(), UNAVAILABLE)
  t.notOk(response.headers['set-cookie'])
  t.match(
    logs.find(({ err }) => err !== undefined),
    { err: { message: /its disk is full, make room, or remove expired sessions .*database or disk is full/ } },
    'the cause is logged'
  )
  t.match((await new Browser(app).get('/fill/100000')).json(), UNAVAILABLE, 'a new session')
  const together = await Promise.all([browser.get('/fill/100000'), bystander.get('/fill/1'), browser.fork().get('/read')])
  t.strictSame(
    together.map(({ statusCode }) => statusCode),
    [503, 200, 200],
    'who needs no room is served, also in the same turn'
  )

  t.strictSame((await browser.get('/read')).json(), before, 'nothing is by halves')
  t.match((await bystander.get('/read')).json(), { count: 2 })
  t.strictSame(await knex.raw('PRAGMA integrity_check'), [{ integrity_check: 'ok' }])
  t.equal((await browser.get('/cycle')).statusCode, 200, 'a new key needs no room')
  t.equal((await bystander.get('/flush')).statusCode, 200, 'nor does a logout')
  t.equal((await knex('django_session').select()).length, 1)

  limit(1_000_000)
  t.equal((await browser.get('/fill/100000')).statusCode, 200)
  t.match((await browser.get('/read')).json(), { count: 2 })
})

/** A folder whose room can be taken and given back. */
interface Disk {
  folder: string
  takeAll(site?: Site): void
  giveBack(site?: Site): void
}

/** A file system of its own, which root may make; not in every container. */
async function mountDisk(t: Test): Promise<Disk> {
  const folder = await mkdtemp(join(tmpdir(), 'disk-'))
  t.teardown(() => rm(folder, { recursive: true }))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k,mode=700', 'none', folder])
  t.teardown(() => execFileSync('umount', [folder]))
  const ballast = join(folder, 'ballast')
  const takeAll = () => {
    try {
      for (;;) writeFileSync(ballast, Buffer.alloc(4096), { flag: 'a' })
    } catch (error) {
      t.match(error, { code: 'ENOSPC' })
    }
  }
  return { folder, takeAll, giveBack: () => rmSync(ballast) }
}

function refusesMounts(): string | false {
  const folder = execFileSync('mktemp', ['-d'], { encoding: 'utf8' }).trim()
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4k', 'none', folder], { stdio: 'ignore' })
    execFileSync('umount', [folder])
    return false
  } catch {
    return 'no file system may be mounted here'
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** How the table of sessions runs out of room, and has it again. */
interface Room {
  takeAll(): unknown
  giveBack(): unknown
}

const rooms: Record<'postgres' | 'mariadb', { skip: string | false; make: (t: Test, knex: Knex) => Promise<Room> }> = {
  postgres: {
    skip: missing('postgres') || refusesMounts(),
    async make(t, knex) {
      const disk = await mountDisk(t)
      const { rows } = await knex.raw('SHOW data_directory')
      const { uid, gid } = statSync(rows[0].data_directory)
      chownSync(disk.folder, uid, gid)
      const tablespace = basename(disk.folder)
      await knex.raw(`CREATE TABLESPACE ?? LOCATION '${disk.folder}'`, [tablespace])
      await knex.raw('ALTER TABLE django_session SET TABLESPACE ??', [tablespace])
      t.teardown(async () => {
        await knex.raw('ALTER TABLE django_session SET TABLESPACE pg_default')
        await knex.raw('DROP TABLESPACE ??', [tablespace])
      })
      return disk
    }
  },
  mariadb: {
    skip: missing('mariadb'),
    // InnoDB may end the server when a disk is full. A table of MyISAM that promised to stay small takes 64 kB.
    make: async (_t, knex) => ({
      takeAll: () => knex.raw('ALTER TABLE django_session ENGINE = MyISAM MAX_ROWS = 1 AVG_ROW_LENGTH = 1'),
      giveBack: () => knex.raw('ALTER TABLE django_session ENGINE = InnoDB')
    })
  }
}

for (const [server, { skip, make }] of Object.entries(rooms)) {
  t.test(server, { skip }, async (t) => {
    const knex = await openDatabase(t, server as DatabaseName)
    const room = await make(t, knex)
    const { app } = await createSite(t, knex)
    const browser = new Browser(app)
    const bystander = new Browser(app)
    await browser.get('/fill/10')
    await bystander.get('/fill/10')
    const before = (await browser.get('/read')).json()

    await room.takeAll()
    const response = await browser.get('/fill/100000')
    t.match(response.json(), UNAVAILABLE)
    t.notOk(response.headers['set-cookie'])
    t.match((await new Browser(app).get('/fill/100000')).json(), UNAVAILABLE, 'a new session')
    t.strictSame((await browser.get('/read')).json(), before, 'nothing is by halves')
    t.equal((await bystander.get('/flush')).statusCode, 200, 'a logout needs no room')

    await room.giveBack()
    t.equal((await browser.get('/fill/100000')).statusCode, 200)
    t.match((await browser.get('/read')).json(), { count: 2 })
  })
}

/** Without a right to mount: the process may write no byte beyond a size, and breaks off there. */
async function limitFiles(t: Test): Promise<Disk> {
  const set = ({ child }: Site, limit: string) => execFileSync('prlimit', ['--pid', String(child.pid), `--fsize=${limit}:unlimited`])
  return {
    folder: privateFolder(t),
    takeAll: (site) => set(site as Site, '50'),
    giveBack: (site) => set(site as Site, 'unlimited')
  }
}

const disks: Record<string, { skip: string | false; make: (t: Test) => Promise<Disk> }> = {
  'a file system without room': { skip: refusesMounts(), make: mountDisk },
  'a limit to the size of files': { skip: process.platform !== 'linux' && 'prlimit is of Linux', make: limitFiles }
}

for (const [name, { skip, make }] of Object.entries(disks)) {
  t.test(`the engine file, on ${name}`, { skip }, async (t) => {
    const disk = await make(t)
    const site = await startSite(t, { engine: 'file', filePath: disk.folder })
    const start = async () => String((await site.get('/set/start')).cookie)
    const [cookie, other, third] = [await start(), await start(), await start()]
    const files = () =>
      readdirSync(disk.folder)
        .filter((name) => name !== 'ballast')
        .sort()
    const sizes = () => files().map((name) => statSync(join(disk.folder, name)).size)
    const before = { files: files(), sizes: sizes() }

    disk.takeAll(site)
    const refuses = (reply: Reply, what: string) => {
      t.match(JSON.parse(reply.body), UNAVAILABLE, what)
      t.equal(reply.cookie, null)
    }
    refuses(await site.get('/set/more', cookie), 'a save')
    refuses(await site.get('/set/start'), 'a new session')
    t.strictSame({ files: files(), sizes: sizes() }, before, 'no session is touched, and no lock or temporary file is left')
    t.strictSame(JSON.parse((await site.get('/read', cookie)).body), { start: true, count: 1 })
    const cycled = await site.get('/cycle', other)
    t.equal(cycled.status, 200, 'a new key needs no room')
    t.equal((await site.get('/flush', third)).status, 200, 'nor does a logout')

    disk.giveBack(site)
    t.equal((await site.get('/set/more', cookie)).status, 200)
    t.strictSame(JSON.parse((await site.get('/read', cookie)).body), { start: true, count: 2, more: true })
    t.strictSame(JSON.parse((await site.get('/read', cycled.cookie)).body), { start: true, count: 1 })
    t.strictSame(files(), [`sessionid${cookie}`, `sessionid${cycled.cookie}`].sort())
    t.strictSame(await site.close(), [0, null])
  })
}
