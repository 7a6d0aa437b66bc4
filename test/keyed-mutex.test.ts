import t from 'tap'
import { deadlineIn } from '../lib/deadline.ts'
import { KeyedMutex } from '../lib/session/keyed-mutex.ts'

/** Work that says when it starts, and ends when told to. */
function gatedWork(log: string[], name: string) {
  let end: (error?: Error) => void = () => {}
  const ended = new Promise<void>((resolve, reject) => {
    end = (error) => (error === undefined ? resolve() : reject(error))
  })
  const work = async () => {
    log.push(`${name} starts`)
    await ended
    log.push(`${name} ends`)
    return name
  }
  return { work, end }
}

/** Lets everything happen that waits for nothing but the event loop. */
const idle = () => new Promise((resolve) => setImmediate(resolve))

t.test('work under one key runs one after another, in the order in which it came', async (t) => {
  const mutex = new KeyedMutex()
  const log: string[] = []
  const gates = ['first', 'second', 'third'].map((name) => gatedWork(log, name))
  const results = gates.map(({ work }) => mutex.run('key', deadlineIn(60), work))
  for (const { end } of [...gates].reverse()) {
    end()
    await idle()
  }
  t.strictSame(await Promise.all(results), ['first', 'second', 'third'])
  t.strictSame(log, ['first starts', 'first ends', 'second starts', 'second ends', 'third starts', 'third ends'])
})

t.test('work under different keys does not wait', async (t) => {
  const mutex = new KeyedMutex()
  const log: string[] = []
  const slow = gatedWork(log, 'slow')
  const running = mutex.run('one', deadlineIn(60), slow.work)
  t.equal(await mutex.run('two', deadlineIn(60), async () => 'done'), 'done')
  t.strictSame(log, ['slow starts'])
  slow.end()
  await running
})

t.test('work starts at once when there is none before it', async (t) => {
  const mutex = new KeyedMutex()
  let started = false
  const running = mutex.run('key', deadlineIn(60), async () => {
    started = true
  })
  t.equal(started, true)
  await running
})

t.test('a failure reaches its caller only, and the next work runs', async (t) => {
  const mutex = new KeyedMutex()
  const log: string[] = []
  const first = gatedWork(log, 'first')
  const failing = mutex.run('key', deadlineIn(60), first.work)
  const next = mutex.run('key', deadlineIn(60), async () => 'next')
  first.end(new Error('failed'))
  await t.rejects(failing, { message: 'failed' })
  t.equal(await next, 'next')
  await t.rejects(
    mutex.run('key', deadlineIn(60), () => {
      throw new Error('at once')
    }),
    { message: 'at once' }
  )
  t.equal(await mutex.run('key', deadlineIn(60), async () => 'still works'), 'still works')
})

t.test('work that comes while the last one ends still waits for it', async (t) => {
  const mutex = new KeyedMutex()
  const log: string[] = []
  const first = gatedWork(log, 'first')
  const second = gatedWork(log, 'second')
  const third = gatedWork(log, 'third')
  const running = [mutex.run('key', deadlineIn(60), first.work), mutex.run('key', deadlineIn(60), second.work)]
  first.end()
  await running[0]
  running.push(mutex.run('key', deadlineIn(60), third.work))
  await idle()
  t.notOk(log.includes('third starts'), 'the end of the first one does not open the mutex')
  second.end()
  third.end()
  await Promise.all(running)
  t.strictSame(log.slice(-2), ['third starts', 'third ends'])
})

t.test('a waiter that times out gets no turn, and opens the mutex for nobody', async (t) => {
  const mutex = new KeyedMutex()
  const log: string[] = []
  const first = gatedWork(log, 'first')
  const running = mutex.run('key', deadlineIn(60), first.work)
  for (const name of ['late', 'late too']) {
    await t.rejects(
      mutex.run('key', deadlineIn(0.01), async () => log.push(name)),
      { code: 'FST_SESSION_STORE_UNAVAILABLE' }
    )
  }
  const next = mutex.run('key', deadlineIn(60), async () => log.push('next'))
  await idle()
  t.strictSame(log, ['first starts'])
  first.end()
  await Promise.all([running, next])
  t.strictSame(log, ['first starts', 'first ends', 'next'])
})
