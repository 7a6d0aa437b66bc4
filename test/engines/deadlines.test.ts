/** The deadline of an operation, at the boundary of an engine of the application. */
import t, { type Test } from 'tap'
import { CacheEngine } from '../../lib/engines/cache.ts'
import { SessionCache } from '../../lib/engines/session-cache.ts'
import type { Engine } from '../../lib/index.ts'
import { MemoryCache } from '../../lib/index.ts'
import { addRoutes, Browser, createApp, gate } from '../fixtures/app.ts'

/** An engine that works, with some methods replaced. */
function engineWith(methods: Partial<Engine>): Engine {
  const engine: Engine = new CacheEngine(new SessionCache({ cache: new MemoryCache(), prefix: '', clock: () => new Date() }))
  const names = ['load', 'create', 'save', 'saveLocked', 'touch', 'cycleKey', 'delete', 'exists', 'clearExpired'] as const
  return { ...Object.fromEntries(names.map((name) => [name, engine[name].bind(engine)])), ...methods } as Engine
}

async function createSite(t: Test, methods: (engine: Engine) => Partial<Engine>, storeTimeout: number) {
  const plain = engineWith({})
  const { app } = await createApp(t, { engine: { ...plain, ...methods(plain) }, storeTimeout }, addRoutes)
  const browser = new Browser(app)
  await browser.get('/count')
  return { app, browser }
}

const never = () => new Promise<never>(() => {})

for (const [method, url] of [
  ['load', '/read'],
  ['save', '/count'],
  ['cycleKey', '/cycle'],
  ['delete', '/flush']
] as const) {
  t.test(`an engine whose ${method}() never ends is a 503 after storeTimeout`, async (t) => {
    const { browser } = await createSite(t, () => ({ [method]: never }), 0.05)
    t.match((await browser.get(url)).json(), { statusCode: 503, code: 'FST_SESSION_STORE_UNAVAILABLE' })
  })
}

t.test('a save that waits for another one of its session has the deadline of its call', async (t) => {
  const deadlines: number[] = []
  const door = gate()
  const { app, browser } = await createSite(
    t,
    (engine) => ({
      save: async (sessionKey, record, snapshot, deadline) => {
        deadlines.push(deadline)
        await door.pass()
        return engine.save(sessionKey, record, snapshot, deadline)
      }
    }),
    60
  )
  const [first, second] = await Promise.all([1, 2].map(() => app.sessions.open(browser.cookie).load()))
  const saving = first?.set('first', true).save()
  await door.reached
  const waiting = second?.set('second', true).save()
  const called = performance.now()
  // Some time passes until the second one has its turn.
  while (performance.now() < called + 20);
  door.open()
  await Promise.all([saving, waiting])
  const [, ofSecond] = deadlines as [number, number]
  t.ok(ofSecond <= called + 60_000, 'fixed before it waited')
  t.match((await browser.get('/read')).json(), { count: 1, first: true, second: true })
})

t.test('a logout that ends after its caller has given up is known to watches at once', async (t) => {
  const door = gate()
  const { app, browser } = await createSite(
    t,
    (engine) => ({
      delete: async (sessionKey, deadline) => {
        await door.pass()
        return engine.delete(sessionKey, deadline + 60_000)
      }
    }),
    0.05
  )
  const signal = app.sessions.watch(await app.sessions.open(browser.cookie).load(), { every: 3600 })
  await t.rejects(app.sessions.open(browser.cookie).flush(), { code: 'FST_SESSION_STORE_UNAVAILABLE' })
  t.equal(signal.aborted, false)
  const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve))
  door.open()
  await aborted
  t.equal(signal.aborted, true)
})

t.test('an abandoned save keeps others of its session waiting until it has ended, so that none is lost', async (t) => {
  const door = gate()
  let saves = 0
  const { app, browser } = await createSite(
    t,
    (engine) => ({
      save: async (sessionKey, record, snapshot, deadline) => {
        if (++saves > 1) return engine.save(sessionKey, record, snapshot, deadline)
        await door.pass()
        // It ignores its deadline.
        return engine.save(sessionKey, record, snapshot, deadline + 60_000)
      }
    }),
    0.2
  )
  const [slow, next] = await Promise.all([1, 2].map(() => app.sessions.open(browser.cookie).load()))
  await t.rejects(slow?.set('slow', true).save() as Promise<void>, { code: 'FST_SESSION_STORE_UNAVAILABLE' })
  t.equal(saves, 1)
  const waiting = next?.set('next', true).save()
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(saves, 1, 'it waits')
  door.open()
  await waiting
  t.match((await browser.get('/read')).json(), { count: 1, slow: true, next: true })
})
