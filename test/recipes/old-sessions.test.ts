/** docs/coming-from-express-session.md: sessions that other libraries stored go on here, with their cookies. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import cookie from '@fastify/cookie'
import Fastify, { type FastifyInstance, type onRequestAsyncHookHandler } from 'fastify'
import type { Knex } from 'knex'
import t, { type Test } from 'tap'
import { express, expressSession, fastifyCookie, fastifySession, PgSimple, SessionKnex, type Store } from '../../bench/contenders/peers.ts'
import sessions, { type Sessions } from '../../lib/index.ts'
import { secretKey } from '../fixtures/app.ts'
import { type DatabaseName, missing, openDatabase } from '../fixtures/databases.ts'
import { fileBlock } from '../fixtures/pages.ts'

interface Move {
  sessions: Sessions
  knex: Knex
  oldTable: string
  secretKey: string
}
interface OldCookie {
  name: string
  prefix: string
  secret: string
}

/** The modules of the page. */
async function recipe(t: Test) {
  const names = ['move-session.ts', 'move-all.ts', 'old-cookie.ts']
  const folder = t.testdir(Object.fromEntries(names.map((name) => [name, fileBlock(name)])))
  const { moveAll } = (await import(join(folder, 'move-all.ts'))) as { moveAll(move: Move): Promise<void> }
  const { acceptOldCookie } = (await import(join(folder, 'old-cookie.ts'))) as {
    acceptOldCookie(old: OldCookie, move: () => Move): onRequestAsyncHookHandler
  }
  return { moveAll, acceptOldCookie }
}

const secret = 'their secret of thirty-two characters'
const data = { userId: 7, cart: ['tea'] }

/** A visitor's cookie, from an application whose session has the data. */
type Visit = (t: Test, store: Store, maxAge: number) => Promise<string>

const visitExpress: Visit = async (t, store, maxAge) => {
  const app = express()
  app.use(expressSession({ secret, store, cookie: { maxAge }, resave: false, saveUninitialized: false }))
  app.get('/', ({ session }: { session: object }, response: { json(body: object): void }) => {
    Object.assign(session, data)
    response.json({})
  })
  const server = app.listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  // The headers come before the session is stored.
  await response.text()
  return response.headers.getSetCookie()[0]?.split(';')[0] as string
}

const visitFastify: Visit = async (t, store, maxAge) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyCookie)
  await app.register(fastifySession, { secret, store, cookie: { secure: false, maxAge } })
  app.get('/', async (request) => {
    Object.assign((request as unknown as { session: object }).session, data)
    return {}
  })
  return String((await app.inject('/')).headers['set-cookie']).split(';')[0] as string
}

interface Peer {
  name: string
  database: DatabaseName
  oldTable: string
  old: OldCookie
  visit: Visit
  openStore(knex: Knex): Store
}

const knexStore = (knex: Knex) => new SessionKnex({ knex, createTable: true, cleanupInterval: 0 })

const peers: Peer[] = [
  {
    name: 'express-session with connect-session-knex',
    database: 'sqlite',
    oldTable: 'sessions',
    old: { name: 'connect.sid', prefix: 's:', secret },
    visit: visitExpress,
    openStore: knexStore
  },
  {
    name: 'express-session with connect-session-knex',
    database: 'mariadb',
    oldTable: 'sessions',
    old: { name: 'connect.sid', prefix: 's:', secret },
    visit: visitExpress,
    openStore: knexStore
  },
  {
    name: 'express-session with connect-pg-simple',
    database: 'postgres',
    oldTable: 'session',
    old: { name: 'connect.sid', prefix: 's:', secret },
    visit: visitExpress,
    openStore: (knex) =>
      new PgSimple({ conObject: knex.client.connectionSettings, createTableIfMissing: true, pruneSessionInterval: false })
  },
  {
    name: '@fastify/session with connect-session-knex',
    database: 'sqlite',
    oldTable: 'sessions',
    old: { name: 'sessionId', prefix: '', secret },
    visit: visitFastify,
    openStore: knexStore
  }
]

async function createSite(t: Test, { database, oldTable, old, visit, openStore }: Peer) {
  const { acceptOldCookie, moveAll } = await recipe(t)
  const knex = await openDatabase(t, database)
  const store = openStore(knex)
  t.teardown(() => (store as { close?(): void }).close?.())

  const app = Fastify() as unknown as FastifyInstance
  t.teardown(() => app.close())
  const move = () => ({ sessions: app.sessions, knex, oldTable, secretKey })
  await app.register(cookie)
  app.addHook('onRequest', acceptOldCookie(old, move))
  await app.register(sessions, { secretKey, knex })
  app.get('/data', async (request) => (await request.session.load()).toObject())
  app.get('/count', async (request) => {
    request.session.set('visits', (visits = 0) => Number(visits) + 1)
    return {}
  })
  app.get('/logout', async (request) => {
    await request.session.flush()
    return {}
  })
  app.get('/broken', async () => {
    throw new Error('broken')
  })
  const get = (url: string, cookie: string) => app.inject({ url, headers: { cookie } })
  const rows = async () => ({ old: (await knex(oldTable).select()).length, new: (await knex('django_session').select()).length })
  /** A visitor of the old application, with no rows but theirs; returns the cookie. */
  const visitOld = async (maxAge = 3_600_000) => {
    for (const table of [oldTable, 'django_session']) if (await knex.schema.hasTable(table)) await knex(table).delete()
    return visit(t, store, maxAge)
  }
  return { get, visitOld, rows, moveAll: () => moveAll(move()) }
}

for (const peer of peers) {
  t.test(`${peer.name} on ${peer.database}`, { skip: missing(peer.database) }, async (t) => {
    const { get, visitOld, rows, moveAll } = await createSite(t, peer)

    t.test('whoever comes with the old cookie has the data, and gets our cookie', async (t) => {
      const oldCookie = await visitOld()
      const response = await get('/data', oldCookie)
      t.strictSame(response.json(), data)
      const [ours] = response.cookies
      t.equal(ours?.name, 'sessionid')
      t.strictSame((await get('/data', `sessionid=${ours?.value}`)).json(), data)
      t.strictSame(await rows(), { old: 0, new: 1 })
    })

    t.test('parallel requests with the old cookie meet in one session', async (t) => {
      const oldCookie = await visitOld()
      const responses = await Promise.all(Array.from({ length: 5 }, () => get('/count', oldCookie)))
      t.equal(new Set(responses.map(({ cookies: [ours] }) => ours?.value)).size, 1)
      t.strictSame((await get('/data', oldCookie)).json(), { ...data, visits: 5 })
      t.strictSame(await rows(), { old: 0, new: 1 })
    })

    t.test('a reply that fails loses nothing', async (t) => {
      const oldCookie = await visitOld()
      const failed = await get('/broken', oldCookie)
      t.strictSame([failed.statusCode, failed.cookies], [500, []])
      t.strictSame((await get('/data', oldCookie)).json(), data)
    })

    t.test('a logout ends the old cookie too', async (t) => {
      const oldCookie = await visitOld()
      await get('/logout', oldCookie)
      const response = await get('/data', oldCookie)
      t.strictSame(response.json(), {})
      t.match(
        response.cookies.find(({ name }) => name === peer.old.name),
        { value: '' },
        'and it is removed'
      )
      t.strictSame(await rows(), { old: 0, new: 0 })
    })

    t.test('a forged cookie, and a session that has ended, are nothing', async (t) => {
      const oldCookie = await visitOld()
      t.strictSame((await get('/data', `${oldCookie.slice(0, -2)}xx`)).json(), {})
      t.strictSame(await rows(), { old: 1, new: 0 })
      t.strictSame((await get('/data', await visitOld(1))).json(), {})
      t.strictSame((await rows()).new, 0)
    })

    t.test('the script moves all rows, and may run again', async (t) => {
      const oldCookie = await visitOld()
      await moveAll()
      await moveAll()
      t.strictSame(await rows(), { old: 0, new: 1 })
      t.strictSame((await get('/data', oldCookie)).json(), data)
    })
  })
}
