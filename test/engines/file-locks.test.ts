/** Writers of one session in many processes, and processes that die. */
import { type ChildProcess, execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { age, at, createEngine, intercept, isRoot, NOBODY, PASSED, plantLock, record, setUp, UNAVAILABLE } from '../fixtures/file-engine.ts'
import type { Task } from '../fixtures/file-writer.ts'
import { unhurried } from '../fixtures/unhurried.ts'

interface Writer {
  child: ChildProcess
  start(task: Task): void
}

/** A process that waits for its task. */
async function startWriter(t: Test): Promise<Writer> {
  const child = fork(new URL('../fixtures/file-writer.ts', import.meta.url), {
    execArgv: ['--import', import.meta.resolve('tsx')],
    stdio: ['ignore', 'pipe', 'inherit', 'ipc']
  })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child, 'message')
  return { child, start: (task) => void child.send(task) }
}

const startWriters = (t: Test, count: number) => Promise.all(Array.from({ length: count }, () => startWriter(t)))

/** Waits for a process that its task kills. */
async function runUntilDead(t: Test, task: Task): Promise<void> {
  const { child, start } = await startWriter(t)
  const exit = once(child, 'exit')
  start(task)
  t.strictSame(await exit, [null, 'SIGKILL'])
}

t.test('locks', async (t) => {
  await t.test('of many processes none loses what it saved', async (t) => {
    const { engine, folder, sessionKey, lock } = await setUp(t, { clock: () => new Date() })
    const writers = await startWriters(t, 4)
    await engine.save(sessionKey, record('', new Date(Date.now() + 100_000)), null)
    // All of them also find an abandoned lock first, which one of them must remove.
    plantLock(lock, 31)
    const count = 50
    const exits = writers.map(({ child }) => once(child, 'exit'))
    for (const [index, { start }] of writers.entries()) {
      start({ name: index % 2 === 0 ? 'append by saveLocked' : 'append by save', folder, sessionKey, count })
    }
    for (const exit of await Promise.all(exits)) t.strictSame(exit, [0, null])
    t.equal((await engine.load(sessionKey))?.sessionData, '+'.repeat(writers.length * count))
    t.strictSame(fs.readdirSync(folder), [`sessionid${sessionKey}`])
  })

  await t.test('of many engines that find an abandoned lock one takes it at a time', async (t) => {
    const { folder, engine, sessionKey, lock } = await setUp(t)
    plantLock(lock, 31)
    const append = () => unhurried(createEngine(folder)).saveLocked(sessionKey, ({ sessionData }) => record(`${sessionData}+`))
    await Promise.all(Array.from({ length: 20 }, append))
    t.equal((await engine.load(sessionKey))?.sessionData, `first${'+'.repeat(20)}`)
  })

  await t.test('a session is held as long as its holder lives, and free when it is killed', async (t) => {
    const { engine, impatient, folder, sessionKey, file, lock } = await setUp(t, { clock: () => new Date() })
    await engine.touch(sessionKey, new Date(Date.now() + 100_000), 'first')
    const { child, start } = await startWriter(t)
    start({ name: 'hold the lock', folder, sessionKey, count: 0 })
    await once(child.stdout as NodeJS.ReadableStream, 'data')

    t.match((await engine.load(sessionKey))?.sessionData, 'first', 'reading needs no lock')
    await t.rejects(impatient.save(sessionKey, record('second'), 'first', PASSED), UNAVAILABLE)
    await t.rejects(impatient.delete(sessionKey, PASSED), UNAVAILABLE)
    fs.utimesSync(file, new Date(0), new Date(0))
    t.match(await engine.clearExpired(), { deleted: 0 }, 'it is passed over')
    t.strictSame(fs.readdirSync(folder).sort(), [`.sessionid${sessionKey}.lock`, `sessionid${sessionKey}`])
    t.ok(fs.lstatSync(lock).isSymbolicLink())

    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
    t.match(await engine.save(sessionKey, record('second'), 'first'), { outcome: 'saved' })
    t.strictSame(fs.readdirSync(folder), [`sessionid${sessionKey}`])
  })

  const foreign: Record<string, (lock: string) => void> = {
    'of another machine or container': (lock) => fs.symlinkSync('1.elsewhere.0', lock),
    'that names no owner': (lock) => fs.writeFileSync(lock, ''),
    'that is a named pipe': (lock) => execFileSync('mkfifo', [lock]),
    'that is a sparse file of 4 GB': (lock) => {
      fs.writeFileSync(lock, '')
      fs.truncateSync(lock, 4_000_000_000)
    }
  }
  for (const [what, make] of Object.entries(foreign)) {
    await t.test(`a lock ${what} holds for 30 seconds, whatever the clock says`, { timeout: 60_000 }, async (t) => {
      const { engine, impatient, folder, sessionKey, lock, setTime } = await setUp(t)
      make(lock)
      for (const seconds of [-1e9, 0, 1e9]) {
        setTime(seconds)
        await t.rejects(impatient.delete(sessionKey, PASSED), UNAVAILABLE)
      }
      t.strictSame(fs.readdirSync(folder).sort(), [`.sessionid${sessionKey}.lock`, `sessionid${sessionKey}`])
      age(lock, 31)
      await engine.delete(sessionKey)
      t.strictSame(fs.readdirSync(folder), [])
    })
  }

  await t.test('a lock from the future is abandoned', async (t) => {
    const { impatient, folder, sessionKey, lock } = await setUp(t)
    plantLock(lock, -1e9)
    await impatient.delete(sessionKey, PASSED)
    t.strictSame(fs.readdirSync(folder), [])
  })

  await t.test('a lock that another user created and nobody else may read holds for 30 seconds', { skip: !isRoot }, async (t) => {
    const folder = fs.mkdtempSync(join(tmpdir(), 'shared-'))
    t.teardown(() => {
      process.seteuid?.(0)
      fs.rmSync(folder, { recursive: true })
    })
    fs.chownSync(folder, NOBODY, NOBODY)
    process.seteuid?.(NOBODY)
    const engine = createEngine(folder)
    const sessionKey = await unhurried(engine).create(record('first'))
    process.seteuid?.(0)
    const lock = join(folder, `.sessionid${sessionKey}.lock`)
    fs.writeFileSync(lock, '', { mode: 0o600 })
    process.seteuid?.(NOBODY)
    await t.rejects(engine.delete(sessionKey, PASSED), UNAVAILABLE)
    process.seteuid?.(0)
    age(lock, 31)
    process.seteuid?.(NOBODY)
    await engine.delete(sessionKey, PASSED)
    t.strictSame(fs.readdirSync(folder), [])
  })

  await t.test('a lock that is held is not abandoned for a process whose clock is an hour away', async (t) => {
    const { engine, folder, sessionKey } = await setUp(t)
    const others = [-3600, 3600].map((seconds) => createEngine(folder, { clock: () => at(seconds) }))
    let refusals = 0
    intercept(t, 'rename', 0, async () => {
      for (const other of others) {
        await t.rejects(other.delete(sessionKey, PASSED), UNAVAILABLE)
        refusals++
      }
    })
    t.match(await engine.save(sessionKey, record('second'), 'first'), { outcome: 'saved' })
    t.equal(refusals, 2)
    t.match(await engine.load(sessionKey), { sessionData: 'second' })
  })

  await t.test('an engine that finds an abandoned lock again and again gives up at its deadline', async (t) => {
    const { impatient, sessionKey, lock } = await setUp(t)
    intercept(t, 'symlink', 1, (path) => {
      if (path === lock) plantLock(lock, 31)
    })
    await t.rejects(impatient.delete(sessionKey, PASSED), UNAVAILABLE)
  })

  await t.test('a lock that another owner took in the place of an abandoned one is not removed', async (t) => {
    const { impatient, sessionKey, lock } = await setUp(t)
    plantLock(lock, 31)
    intercept(t, 'symlink', 1, (path) => {
      if (path === `${lock}.lock`) plantLock(lock, 0)
    })
    await t.rejects(impatient.save(sessionKey, record('second'), 'first', PASSED), UNAVAILABLE)
    t.equal(fs.readlinkSync(lock), '1.elsewhere.0')
  })

  await t.test('a process that removes an abandoned lock may die before it is done', async (t) => {
    const { engine, folder, sessionKey, lock } = await setUp(t)
    for (const path of [lock, `${lock}.lock`, `${lock}.lock.lock`]) plantLock(path, 31)
    t.match(await engine.save(sessionKey, record('second'), 'first'), { outcome: 'saved' })
    t.strictSame(fs.readdirSync(folder), [`sessionid${sessionKey}`])
  })

  await t.test('an owner that was stopped until another one took its lock changes nothing', async (t) => {
    const { engine, folder, sessionKey, lock } = await setUp(t)
    const late = engine.saveLocked(sessionKey, () => {
      plantLock(lock, 0)
      return record('late')
    })
    await t.rejects(late, UNAVAILABLE)
    t.match(await engine.load(sessionKey), { sessionData: 'first' })
    t.strictSame(
      fs.readdirSync(folder).sort(),
      [`.sessionid${sessionKey}.lock`, `sessionid${sessionKey}`],
      'the lock of the other owner stays'
    )
  })

  await t.test('a deletion waits for the save under way, and wins', async (t) => {
    const { engine, folder, sessionKey } = await setUp(t)
    let deletion: Promise<void> | undefined
    await engine.saveLocked(sessionKey, () => {
      deletion = unhurried(createEngine(folder)).delete(sessionKey)
      return record('second')
    })
    await deletion
    t.strictSame(fs.readdirSync(folder), [])
  })

  await t.test('a rotation waits for the save under way, and takes along what it wrote', async (t) => {
    const { engine, folder, sessionKey } = await setUp(t)
    let rotation: Promise<string | null> | undefined
    await engine.saveLocked(sessionKey, () => {
      rotation = unhurried(createEngine(folder)).cycleKey(sessionKey, at(200), 'first')
      return record('second', at(300))
    })
    const newKey = String(await rotation)
    t.strictSame(await engine.load(newKey), { sessionData: 'second', expireDate: at(300) })
    t.strictSame(fs.readdirSync(folder), [`sessionid${newKey}`])
  })
})

t.test('a process that is killed', async (t) => {
  /** The keys of the sessions that have data. */
  const live = (folder: string) =>
    fs
      .readdirSync(folder)
      .filter((name) => /^sessionid[a-z0-9]{32}$/.test(name) && fs.statSync(join(folder, name)).size > 0)
      .map((name) => name.slice('sessionid'.length))
  const setUpNow = async (t: Test) => {
    const fixture = await setUp(t, { clock: () => new Date() })
    await fixture.engine.touch(fixture.sessionKey, new Date(Date.now() + 100_000), 'first')
    return fixture
  }

  await t.test('while it saves leaves the session as it was, and nothing that is taken for one', async (t) => {
    const { engine, folder, sessionKey } = await setUpNow(t)
    await runUntilDead(t, { name: 'die before rename in save', folder, sessionKey, count: 0 })
    t.match(await engine.load(sessionKey), { sessionData: 'first' })
    const left = fs.readdirSync(folder).filter((name) => name !== `sessionid${sessionKey}`)
    t.equal(left.length, 2, 'a temporary file and a lock')
    for (const name of left) t.notOk(name.startsWith('sessionid'), "Django's clearsessions looks at no such name")
    t.match(await engine.clearExpired(), { deleted: 0 })
    t.strictSame(fs.readdirSync(folder), [`sessionid${sessionKey}`], 'our own removes it')
  })

  await t.test('before it rotates leaves the old key', async (t) => {
    const { engine, folder, sessionKey } = await setUpNow(t)
    await runUntilDead(t, { name: 'die before rename in rotate', folder, sessionKey, count: 0 })
    t.strictSame(live(folder), [sessionKey])
    t.match(await engine.load(sessionKey), { sessionData: 'first' })
    t.match(await engine.save(sessionKey, record('second'), 'first'), { outcome: 'saved' })
  })

  await t.test('after it rotated leaves the new key', async (t) => {
    const { engine, folder, sessionKey } = await setUpNow(t)
    await runUntilDead(t, { name: 'die after rename in rotate', folder, sessionKey, count: 0 })
    t.equal(await engine.load(sessionKey), null)
    t.equal(live(folder).length, 1)
    t.match(await engine.load(String(live(folder)[0])), { sessionData: 'first' })
    t.match(await engine.save(sessionKey, record('second'), 'first'), { outcome: 'gone' })
  })
})
