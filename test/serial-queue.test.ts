import { queryObjects } from 'node:v8'
import t from 'tap'
import { deadlineIn } from '../lib/deadline.ts'
import { SerialQueue } from '../lib/session/serial-queue.ts'

/** Lets everything happen that waits for nothing but the event loop; what was rejected and not handled would end the process. */
const idle = () => new Promise((resolve) => setImmediate(resolve))

function gate() {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, opened }
}

const fail = async () => {
  throw new Error('failed')
}

t.test('operations run one after another, and answer their callers', async (t) => {
  const queue = new SerialQueue()
  const { open, opened } = gate()
  const log: string[] = []
  const first = queue.run(async () => {
    log.push('first starts')
    await opened
    log.push('first ends')
    return 1
  })
  const second = queue.run(async () => {
    log.push('second')
    return 2
  })
  await idle()
  t.strictSame(log, ['first starts'])
  open()
  t.strictSame(await Promise.all([first, second]), [1, 2])
  t.strictSame(log, ['first starts', 'first ends', 'second'])
})

t.test('a failed operation does not stop the next one', async (t) => {
  const queue = new SerialQueue()
  const failing = queue.run(fail)
  const next = queue.run(async () => 'next')
  await t.rejects(failing, { message: 'failed' })
  t.equal(await next, 'next')
})

t.test('settled() waits for all operations, also those that start in the meantime', async (t) => {
  const queue = new SerialQueue()
  const { open, opened } = gate()
  const log: string[] = []
  queue.run(async () => {
    await opened
    queue.run(async () => {
      await idle()
      log.push('begun by an operation')
    })
  })
  const settled = queue.settled(deadlineIn(60)).then(() => log.push('settled'))
  await idle()
  t.strictSame(log, [])
  open()
  await settled
  t.strictSame(log, ['begun by an operation', 'settled'])
})

t.test('work beside the operations may run some, and settled() waits for all of it and reports its error', async (t) => {
  const queue = new SerialQueue()
  const { open, opened } = gate()
  const log: string[] = []
  queue.follow(
    (async () => {
      await queue.run(async () => void log.push('operation'))
      await opened
      log.push('end')
      return fail()
    })(),
    'a login'
  )
  await queue.follow(
    queue.run(async () => {}),
    'a login'
  )
  await queue.run(async () => {})
  t.equal(queue.isSettled, false)
  const settled = queue.settled(deadlineIn(60))
  open()
  await t.rejects(settled, { message: 'failed' })
  t.strictSame(log, ['operation', 'end'])
  t.equal(queue.isSettled, true)
})

const ENDS: Record<string, (queue: SerialQueue) => Promise<unknown>> = {
  'has settled': (queue) =>
    queue.follow(
      queue.run(async () => {}),
      'a login'
    ),
  'has failed': (queue) => queue.observe(queue.run(fail)).catch(() => {}),
  'has failed before it is awaited': async (queue) => {
    const failing = queue.follow(fail(), 'a login')
    await idle()
    await failing.catch(() => {})
  }
}

for (const [end, work] of Object.entries(ENDS)) {
  t.test(`what ${end} is not kept, since the session of a websocket may live for days`, async (t) => {
    const queue = new SerialQueue()
    const before = queryObjects(Object, { format: 'count' })
    for (let count = 0; count < 1000; count++) await work(queue)
    const kept = queryObjects(Object, { format: 'count' }) - before
    t.ok(kept < 100, `${kept} objects are kept`)
  })
}

t.test('settled() does not wait when there is nothing', async (t) => {
  t.equal(await new SerialQueue().settled(deadlineIn(60)), undefined)
})

t.test('the error of an operation that nobody awaits does not reach the process, but settled()', async (t) => {
  const queue = new SerialQueue()
  queue.observe(queue.run(fail))
  queue.run(async () => {})
  await idle()
  await t.rejects(queue.settled(deadlineIn(60)), { message: 'failed' })
  t.equal(await queue.settled(deadlineIn(60)), undefined, 'it is reported once')
})

t.test('of several forgotten errors the first one is reported', async (t) => {
  const queue = new SerialQueue()
  queue.observe(queue.run(fail))
  queue.observe(
    queue.run(async () => {
      throw new Error('another one')
    })
  )
  await t.rejects(queue.settled(deadlineIn(60)), { message: 'failed' })
  t.equal(await queue.settled(deadlineIn(60)), undefined)
})

t.test('an error that a caller handles is not reported again', async (t) => {
  const queue = new SerialQueue()
  const ways: Record<string, (operation: Promise<unknown>) => Promise<unknown>> = {
    await: async (operation) => {
      try {
        await operation
      } catch {}
    },
    'an async function that returns it': (operation) => (async () => operation)().catch(() => {}),
    catch: (operation) => operation.catch(() => {}),
    'then()': (operation) => operation.then(undefined, () => {}),
    'Promise.all': (operation) => Promise.all([operation]).catch(() => {}),
    'Promise.allSettled': (operation) => Promise.allSettled([operation]),
    finally: (operation) => operation.finally(() => {}).catch(() => {})
  }
  for (const [way, wait] of Object.entries(ways)) {
    const waiting = wait(queue.observe(queue.run(fail)))
    t.equal(await queue.settled(deadlineIn(60)), undefined, way)
    await waiting
  }
})

t.test('an operation returns a promise whose then() gives an ordinary promise', async (t) => {
  const queue = new SerialQueue()
  const operation = queue.observe(queue.run(async () => 1))
  t.ok(operation instanceof Promise)
  t.equal(operation.then((value) => value + 1).constructor, Promise)
  t.equal(await operation.then((value) => value + 1), 2)
})
