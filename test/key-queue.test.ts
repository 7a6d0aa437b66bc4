import t from 'tap'
import { KeyQueue } from '../lib/session/key-queue.ts'

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
  const queue = new KeyQueue(5)
  const log: string[] = []
  const gates = ['first', 'second', 'third'].map((name) => gatedWork(log, name))
  const results = gates.map(({ work }) => queue.run('key', work))
  for (const { end } of [...gates].reverse()) {
    end()
    await idle()
  }
  t.strictSame(await Promise.all(results), ['first', 'second', 'third'])
  t.strictSame(log, ['first starts', 'first ends', 'second starts', 'second ends', 'third starts', 'third ends'])
})

t.test('work under different keys does not wait', async (t) => {
  const queue = new KeyQueue(5)
  const log: string[] = []
  const slow = gatedWork(log, 'slow')
  const running = queue.run('one', slow.work)
  t.equal(await queue.run('two', async () => 'done'), 'done')
  t.strictSame(log, ['slow starts'])
  slow.end()
  await running
})

t.test('work starts at once when there is none before it', async (t) => {
  const queue = new KeyQueue(5)
  let started = false
  const running = queue.run('key', async () => {
    started = true
  })
  t.equal(started, true)
  await running
})

t.test('what fails fails for its caller only', async (t) => {
  const queue = new KeyQueue(5)
  const log: string[] = []
  const first = gatedWork(log, 'first')
  const failing = queue.run('key', first.work)
  const next = queue.run('key', async () => 'next')
  first.end(new Error('failed'))
  await t.rejects(failing, { message: 'failed' })
  t.equal(await next, 'next')
  await t.rejects(
    queue.run('key', () => {
      throw new Error('at once')
    }),
    { message: 'at once' }
  )
  t.equal(await queue.run('key', async () => 'still works'), 'still works')
})

t.test('work that comes while the last one ends still waits for it', async (t) => {
  const queue = new KeyQueue(5)
  const log: string[] = []
  const first = gatedWork(log, 'first')
  const second = gatedWork(log, 'second')
  const third = gatedWork(log, 'third')
  const running = [queue.run('key', first.work), queue.run('key', second.work)]
  first.end()
  await running[0]
  running.push(queue.run('key', third.work))
  await idle()
  t.notOk(log.includes('third starts'), 'the end of the first one does not open the queue')
  second.end()
  third.end()
  await Promise.all(running)
  t.strictSame(log.slice(-2), ['third starts', 'third ends'])
})

t.test('who waits for too long gets no turn, and gives none away', async (t) => {
  const queue = new KeyQueue(0.01)
  const log: string[] = []
  const first = gatedWork(log, 'first')
  const running = queue.run('key', first.work)
  await t.rejects(
    queue.run('key', async () => log.push('too late')),
    { code: 'FST_SESSION_STORE_UNAVAILABLE' }
  )
  await t.rejects(
    queue.run('key', async () => log.push('after one who was too late')),
    { code: 'FST_SESSION_STORE_UNAVAILABLE' }
  )
  first.end()
  await running
  await queue.run('key', async () => log.push('in time'))
  t.strictSame(log, ['first starts', 'first ends', 'in time'])
})
