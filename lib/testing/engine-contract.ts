/** The contract of engines, as cases for any test runner. */
import assert from 'node:assert/strict'
import type { Engine, SessionRecord, StoredSession } from '../contract.js'
import { deadlineIn } from '../deadline.js'

/** Makes the engine under test. Its storage may hold other sessions; `clock` gives the present. */
export type CreateEngine = (clock: () => Date) => Engine | Promise<Engine>

/** One case of the contract. */
export interface ContractCase {
  /** The property, as a sentence. */
  name: string
  /** Rejects with an AssertionError where it does not hold. */
  run(createEngine: CreateEngine): Promise<void>
}

const START = new Date('2026-01-02T03:04:05.678Z')

/** A moment some seconds after the start. */
const at = (seconds: number): Date => new Date(START.getTime() + seconds * 1000)

const record = (sessionData: string, expireDate = at(100)): SessionRecord => ({ sessionData, expireDate, data: () => ({ sessionData }) })

/** A stored session as a plain object: the engine may return an instance of a class. */
export const plain = (stored: StoredSession | null) => stored && { sessionData: stored.sessionData, expireDate: stored.expireDate }

/** A deadline that no call of these tests should miss. */
const soon = () => deadlineIn(60)

/** An engine with a clock that a test moves, and a session in it. */
interface Fixture {
  engine: Engine
  sessionKey: string
  setTime(seconds: number): void
}

type Body = (fixture: Fixture) => Promise<void>

function contractCase(name: string, body: Body): ContractCase {
  return {
    name,
    async run(createEngine) {
      let now = START
      const engine = await createEngine(() => now)
      const sessionKey = await engine.create(record('first'), soon())
      await body({
        engine,
        sessionKey,
        setTime: (seconds) => {
          now = at(seconds)
        }
      })
    }
  }
}

const UNKNOWN = 'unknownunknownunknownunknown0000'

/** The contract of engines that keep sessions under a key of their own choice. */
export const engineContract: readonly ContractCase[] = [
  contractCase('create() stores a session under a new key', async ({ engine, sessionKey }) => {
    assert.match(sessionKey, /^[a-z0-9]{32}$/)
    assert.deepEqual(plain(await engine.load(sessionKey, soon())), { sessionData: 'first', expireDate: at(100) })
    assert.notEqual(await engine.create(record('first'), soon()), sessionKey)
  }),

  contractCase('load() finds no unknown key', async ({ engine }) => {
    assert.equal(await engine.load(UNKNOWN, soon()), null)
  }),

  contractCase('keys compare exactly', async ({ engine, sessionKey }) => {
    assert.equal(await engine.load(sessionKey.toUpperCase(), soon()), null)
    assert.equal(await engine.load(`${sessionKey} `, soon()), null)
    assert.equal(await engine.exists(sessionKey.toUpperCase(), soon()), false)
  }),

  contractCase('a session is found until the moment it ends, and not at it', async ({ engine, sessionKey, setTime }) => {
    setTime(99.999)
    assert.notEqual(await engine.load(sessionKey, soon()), null)
    setTime(100)
    assert.equal(await engine.load(sessionKey, soon()), null)
  }),

  contractCase('text of any length comes back as it was', async ({ engine }) => {
    const text = 'aA0-_:.='.repeat(131_072)
    const sessionKey = await engine.create(record(text), soon())
    assert.equal((await engine.load(sessionKey, soon()))?.sessionData, text)
  }),

  contractCase('save() replaces a session that holds the snapshot', async ({ engine, sessionKey }) => {
    assert.deepEqual(await engine.save(sessionKey, record('second', at(200)), 'first', soon()), { outcome: 'saved', sessionKey })
    assert.deepEqual(plain(await engine.load(sessionKey, soon())), { sessionData: 'second', expireDate: at(200) })
  }),

  contractCase('save() with the same text and date is saved', async ({ engine, sessionKey }) => {
    assert.deepEqual(await engine.save(sessionKey, record('first'), 'first', soon()), { outcome: 'saved', sessionKey })
  }),

  contractCase('save() leaves alone what another writer stored, and says what that is', async ({ engine, sessionKey }) => {
    await engine.save(sessionKey, record('other', at(300)), 'first', soon())
    for (const snapshot of ['first', 'OTHER']) {
      const result = await engine.save(sessionKey, record('mine'), snapshot, soon())
      assert.equal(result.outcome, 'changed')
      assert.deepEqual(plain(result.stored), { sessionData: 'other', expireDate: at(300) })
    }
    assert.equal((await engine.load(sessionKey, soon()))?.sessionData, 'other')
  }),

  contractCase('save() without a snapshot replaces whatever is there', async ({ engine, sessionKey }) => {
    assert.deepEqual(await engine.save(sessionKey, record('second'), null, soon()), { outcome: 'saved', sessionKey })
    assert.equal((await engine.load(sessionKey, soon()))?.sessionData, 'second')
  }),

  contractCase('save() brings no session back that was deleted', async ({ engine, sessionKey }) => {
    await engine.delete(sessionKey, soon())
    assert.deepEqual(await engine.save(sessionKey, record('second'), 'first', soon()), { outcome: 'gone' })
    assert.deepEqual(await engine.save(sessionKey, record('second'), null, soon()), { outcome: 'gone' })
    assert.equal(await engine.load(sessionKey, soon()), null)
    assert.equal(await engine.exists(sessionKey, soon()), false)
  }),

  contractCase('of many saves of one snapshot just one is saved', async ({ engine, sessionKey }) => {
    const saves = Array.from({ length: 10 }, (_, index) => engine.save(sessionKey, record(`writer ${index}`), 'first', soon()))
    const outcomes = (await Promise.all(saves)).map(({ outcome }) => outcome)
    assert.equal(outcomes.filter((outcome) => outcome === 'saved').length, 1)
    assert.equal(outcomes.filter((outcome) => outcome === 'changed').length, 9)
    assert.equal((await engine.load(sessionKey, soon()))?.sessionData, `writer ${outcomes.indexOf('saved')}`)
  }),

  contractCase('saveLocked() saves what merge makes of the stored session', async ({ engine, sessionKey }) => {
    const result = await engine.saveLocked(
      sessionKey,
      ({ sessionData, expireDate }) => {
        assert.deepEqual(expireDate, at(100))
        return record(`${sessionData}, second`, at(200))
      },
      soon()
    )
    assert.deepEqual(result, { outcome: 'saved', sessionKey })
    assert.deepEqual(plain(await engine.load(sessionKey, soon())), { sessionData: 'first, second', expireDate: at(200) })
  }),

  contractCase('saveLocked() loses no merge of many at once', async ({ engine, sessionKey }) => {
    const append = () => engine.saveLocked(sessionKey, ({ sessionData }) => record(`${sessionData}+`), soon())
    await Promise.all(Array.from({ length: 10 }, append))
    assert.equal((await engine.load(sessionKey, soon()))?.sessionData, 'first++++++++++')
  }),

  contractCase('saveLocked() changes nothing when merge throws, and goes on working', async ({ engine, sessionKey }) => {
    const refusal = new Error('refused')
    const refuse = () => {
      throw refusal
    }
    await assert.rejects(engine.saveLocked(sessionKey, refuse, soon()), refusal)
    assert.equal((await engine.load(sessionKey, soon()))?.sessionData, 'first')
    assert.equal((await engine.saveLocked(sessionKey, () => record('second'), soon())).outcome, 'saved')
  }),

  contractCase('saveLocked() brings no session back that was deleted', async ({ engine, sessionKey }) => {
    await engine.delete(sessionKey, soon())
    assert.deepEqual(await engine.saveLocked(sessionKey, () => record('second'), soon()), { outcome: 'gone' })
    assert.equal(await engine.load(sessionKey, soon()), null)
  }),

  contractCase('touch() moves the end of a session that holds the snapshot', async ({ engine, sessionKey, setTime }) => {
    assert.equal(await engine.touch(sessionKey, at(200), 'first', soon()), true)
    assert.deepEqual(plain(await engine.load(sessionKey, soon())), { sessionData: 'first', expireDate: at(200) })
    setTime(150)
    assert.notEqual(await engine.load(sessionKey, soon()), null)
  }),

  contractCase('touch() leaves a session alone that its writer renewed', async ({ engine, sessionKey }) => {
    await engine.save(sessionKey, record('other', at(300)), 'first', soon())
    assert.equal(await engine.touch(sessionKey, at(200), 'first', soon()), true)
    assert.deepEqual(plain(await engine.load(sessionKey, soon())), { sessionData: 'other', expireDate: at(300) })
  }),

  contractCase('touch() brings no session back that was deleted', async ({ engine, sessionKey }) => {
    await engine.delete(sessionKey, soon())
    assert.equal(await engine.touch(sessionKey, at(200), 'first', soon()), false)
    assert.equal(await engine.load(sessionKey, soon()), null)
  }),

  contractCase('cycleKey() moves a session to a new key', async ({ engine, sessionKey }) => {
    const newKey = await engine.cycleKey(sessionKey, at(200), 'first', soon())
    assert.match(String(newKey), /^[a-z0-9]{32}$/)
    assert.notEqual(newKey, sessionKey)
    assert.equal(await engine.load(sessionKey, soon()), null)
    assert.equal(await engine.exists(sessionKey, soon()), false)
    assert.deepEqual(plain(await engine.load(String(newKey), soon())), { sessionData: 'first', expireDate: at(200) })
  }),

  contractCase('cycleKey() takes along what another writer stored, with its end', async ({ engine, sessionKey }) => {
    await engine.save(sessionKey, record('other', at(300)), 'first', soon())
    const newKey = await engine.cycleKey(sessionKey, at(200), 'first', soon())
    assert.deepEqual(plain(await engine.load(String(newKey), soon())), { sessionData: 'other', expireDate: at(300) })
  }),

  contractCase('cycleKey() brings no session back that was deleted', async ({ engine, sessionKey }) => {
    await engine.delete(sessionKey, soon())
    assert.equal(await engine.cycleKey(sessionKey, at(200), 'first', soon()), null)
    assert.equal(await engine.load(sessionKey, soon()), null)
  }),

  contractCase('of many rotations at once just one gets the session', async ({ engine, sessionKey }) => {
    const keys = await Promise.all(Array.from({ length: 5 }, () => engine.cycleKey(sessionKey, at(200), 'first', soon())))
    const winners = keys.filter((key) => key !== null)
    assert.equal(winners.length, 1)
    assert.deepEqual(plain(await engine.load(String(winners[0]), soon())), { sessionData: 'first', expireDate: at(200) })
  }),

  contractCase('a save under the old key of a rotated session is gone', async ({ engine, sessionKey }) => {
    const newKey = await engine.cycleKey(sessionKey, at(200), 'first', soon())
    assert.deepEqual(await engine.save(sessionKey, record('late'), 'first', soon()), { outcome: 'gone' })
    assert.equal((await engine.load(String(newKey), soon()))?.sessionData, 'first')
  }),

  contractCase('delete() removes a session, and is content when there is none', async ({ engine, sessionKey }) => {
    await engine.delete(sessionKey, soon())
    await engine.delete(sessionKey, soon())
    assert.equal(await engine.load(sessionKey, soon()), null)
  }),

  contractCase('exists() knows a session', async ({ engine, sessionKey }) => {
    assert.equal(await engine.exists(sessionKey, soon()), true)
    assert.equal(await engine.exists(UNKNOWN, soon()), false)
  }),

  contractCase('clearExpired() leaves live sessions alone', async ({ engine, sessionKey, setTime }) => {
    const expired = await engine.create(record('short', at(10)), soon())
    setTime(50)
    await engine.clearExpired()
    assert.equal(await engine.load(expired, soon()), null)
    assert.equal(await engine.exists(expired, soon()), false)
    assert.equal((await engine.load(sessionKey, soon()))?.sessionData, 'first')
  })
]
