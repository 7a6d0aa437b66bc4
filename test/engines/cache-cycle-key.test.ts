/** A new key on the engine `cache`, cut off at each of its commands: exactly one of the two keys is alive at any time. */
import t, { type Test } from 'tap'
import { type Cache, MemoryCache } from '../../lib/caches/memory.ts'
import type { SessionRecord } from '../../lib/contract.ts'
import { deadlineIn } from '../../lib/deadline.ts'
import { CacheEngine } from '../../lib/engines/cache.ts'
import { SessionCache } from '../../lib/engines/session-cache.ts'
import { unhurried } from '../fixtures/unhurried.ts'

const END = new Date('2999-01-01')
const record = (text: string): SessionRecord => ({ sessionData: text, expireDate: END, data: () => ({}) })
const engineOn = (cache: Cache) => unhurried(new CacheEngine(new SessionCache({ cache, prefix: '', clock: () => new Date() })))

/** The store, and all keys that ever were in it. */
class Store extends MemoryCache {
  readonly keys = new Set<string>()
  override add(...args: Parameters<Cache['add']>) {
    this.keys.add(args[0])
    return super.add(...args)
  }

  async entries(): Promise<number> {
    const entries = await Promise.all([...this.keys].map((key) => this.get(key)))
    return entries.filter((entry) => entry !== null).length
  }

  async liveKeys(): Promise<string[]> {
    const engine = engineOn(this)
    const live = await Promise.all([...this.keys].map(async (key) => ((await engine.load(key)) === null ? [] : [key])))
    return live.flat()
  }
}

type Command = () => Promise<unknown>
const cutOff = () => Promise.reject(new Error('the connection was cut'))

/** What becomes of the command at which a client is cut off, and of those after it. */
const CUTS: Record<string, { at: (command: Command, late: Command[]) => Promise<unknown>; after: (command: Command) => Promise<unknown> }> =
  {
    'neither it nor later ones are carried out': { at: cutOff, after: cutOff },
    'its answer is lost, and later ones are not carried out': { at: (command) => command().then(cutOff), after: cutOff },
    'its answer is lost, and the client connects again': { at: (command) => command().then(cutOff), after: (command) => command() },
    'it is carried out twice': { at: (command) => command().then(command), after: (command) => command() },
    'it is carried out when nothing waits for it any more': {
      at: (command, late) => {
        late.push(command)
        return cutOff()
      },
      after: cutOff
    }
  }

/** A client of the store that is cut off at one of its commands, counted from 0. */
function createClient(store: Store, cut: keyof typeof CUTS, place: number, onCommand: () => Promise<void>) {
  const { at, after } = CUTS[cut] as (typeof CUTS)[string]
  const late: Command[] = []
  let count = 0
  const send = async (command: Command) => {
    await onCommand()
    const mine = count++
    if (mine < place) return command()
    return mine === place ? at(command, late) : after(command)
  }
  const cache: Cache = {
    get: (key) => send(() => store.get(key)) as Promise<string | null>,
    add: (...args) => send(() => store.add(...args)) as Promise<boolean>,
    replace: (...args) => send(() => store.replace(...args)) as Promise<boolean>,
    delete: (key) => send(() => store.delete(key)) as Promise<void>
  }
  return { engine: engineOn(cache), late, isCut: () => count > place }
}

async function start() {
  const store = new Store()
  const key = await engineOn(store).create(record('first'))
  return { store, key }
}

/** Runs `check` for each command at which a new key can be cut off; says how many there are. */
async function atEachCommand(check: (place: number) => Promise<boolean>): Promise<number> {
  let place = 0
  while (await check(place)) place++
  return place
}

for (const cut of Object.keys(CUTS)) {
  t.test(`cut off at each command: ${cut}`, async (t) => {
    const places = await atEachCommand(async (place) => {
      const { store, key } = await start()
      const where = `at command ${place}`
      const assertOne = async () => t.equal((await store.liveKeys()).length, 1, where)
      const { engine, late, isCut } = createClient(store, cut, place, assertOne as () => Promise<never>)
      const newKey = await engine.cycleKey(key, END, 'first').catch(() => 'failed')
      await assertOne()
      if (newKey !== 'failed') t.strictSame(await store.liveKeys(), [newKey], where)
      for (const command of late) await command()
      await assertOne()
      await goOn(t, store, newKey)
      return isCut()
    })
    t.ok(places >= 5, `${places} commands`)
  })
}

/** Later requests save the session that is left, give it another key, and end it for good. */
async function goOn(t: Test, store: Store, newKey: string | null): Promise<void> {
  const engine = engineOn(store)
  const [key] = (await store.liveKeys()) as [string]
  t.match(await engine.save(key, record('second'), 'first'), { outcome: 'saved' })
  const another = await engine.cycleKey(key, END, 'second')
  t.strictSame(await store.liveKeys(), [another])
  t.equal((await engine.load(another as string))?.sessionData, 'second')
  await engine.delete(another as string)
  t.strictSame(await store.liveKeys(), [], `nothing brings it back, nor ${newKey}`)
}

t.test('a client that is cut off before the old key has moved leaves the session where it was', async (t) => {
  const { store, key } = await start()
  const { engine } = createClient(store, 'neither it nor later ones are carried out', 2, async () => {})
  await t.rejects(engine.cycleKey(key, END, 'first'), { code: 'FST_SESSION_STORE_UNAVAILABLE' })
  t.strictSame(await store.liveKeys(), [key])
})

t.test('a logout that comes before a late command of a new key is final', async (t) => {
  await atEachCommand(async (place) => {
    const { store, key } = await start()
    const client = createClient(store, 'it is carried out when nothing waits for it any more', place, async () => {})
    const newKey = await client.engine.cycleKey(key, END, 'first').catch(() => key)
    await engineOn(store).delete(newKey as string)
    for (const command of client.late) await command()
    t.strictSame(await store.liveKeys(), [], `at command ${place}`)
    return client.isCut()
  })
})

t.test('a rival that saves between two commands of a new key loses nothing', async (t) => {
  await atEachCommand(async (place) => {
    const { store, key } = await start()
    let count = 0
    let saved = false
    const rival = async () => {
      if (count++ !== place) return
      saved = (await engineOn(store).save(key, record('of the rival'), 'first')).outcome === 'saved'
    }
    const { engine } = createClient(store, 'it is carried out twice', Number.POSITIVE_INFINITY, rival)
    const newKey = (await engine.cycleKey(key, END, 'first')) as string
    t.strictSame(await store.liveKeys(), [newKey])
    t.equal(await store.entries(), 2, 'the session and the tombstone: no key that was given up')
    t.equal((await engine.load(newKey))?.sessionData, saved ? 'of the rival' : 'first', `before command ${place}`)
    return count > place
  })
})

t.test('no command is sent after the deadline', async (t) => {
  const key = 'abcdefghijklmnopqrstuvwxyz012345'
  let commands = 0
  const count = async () => void commands++
  const cache: Cache = { get: count, add: count, replace: count, delete: count } as never
  const engine = new CacheEngine(new SessionCache({ cache, prefix: '', clock: () => new Date() }))
  const timedOut = { code: 'FST_SESSION_STORE_UNAVAILABLE', cause: { message: /the cache did not answer in time/ } }
  await t.rejects(engine.load(key, deadlineIn(0)), timedOut)
  await t.rejects(engine.save(key, record('second'), 'first', deadlineIn(0)), timedOut)
  await t.rejects(engine.cycleKey(key, END, 'first', deadlineIn(0)), timedOut)
  await t.rejects(engine.delete(key, deadlineIn(0)), timedOut)
  t.equal(commands, 0)
})
