import { AsyncLocalStorage } from 'node:async_hooks'
import t from 'tap'
import { Batcher, type BatcherOptions } from '../lib/database/batcher.ts'
import { deadlineIn } from '../lib/deadline.ts'
import { alive } from './fixtures/alive.ts'
import { gate } from './fixtures/app.ts'

/** A batcher whose batches wait until they are let go. */
function createBatcher(options: Partial<BatcherOptions<string, string>> = {}) {
  const batches: { items: readonly string[]; finish: () => void; fail: (error: Error) => void }[] = []
  let started = gate()
  const together = (items: readonly string[]) =>
    new Promise<string[]>((resolve, reject) => {
      batches.push({ items, finish: () => resolve(items.map((item) => `${item}!`)), fail: reject })
      started.pass()
      started = gate()
    })
  const batcher = new Batcher<string, string>({
    alone: async (item) => (await together([item]))[0] as string,
    together,
    isRefused: () => false,
    timedOut: (wasSent) => new Error(wasSent ? 'no answer in time' : 'timed out'),
    maxSize: 10,
    maxUnderWay: 2,
    ...options
  })
  return { batches, add: (item: string, deadline = deadlineIn(60)) => batcher.add(item, deadline), started: () => started.reached }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

t.test('calls of one turn of the event loop are sent as one batch, and each gets its own result', async (t) => {
  const { batches, add } = createBatcher()
  const results = ['a', 'b', 'c'].map((item) => add(item))
  await turn()
  t.strictSame(
    batches.map(({ items }) => items),
    [['a', 'b', 'c']]
  )
  batches[0]?.finish()
  t.strictSame(await Promise.all(results), ['a!', 'b!', 'c!'])
})

t.test('a lone call is sent at the end of its turn, and waits for no others', async (t) => {
  const { batches, add } = createBatcher()
  add('a')
  await turn()
  t.equal(batches.length, 1)
})

t.test('calls beyond maxUnderWay wait, and are sent as one batch when another has ended', async (t) => {
  const { batches, add, started } = createBatcher()
  for (const item of ['a', 'b']) {
    add(item)
    await turn()
  }
  const waiting = ['c', 'd', 'e'].map((item) => add(item))
  await turn()
  t.equal(batches.length, 2)
  const next = started()
  batches[1]?.finish()
  await next
  t.strictSame(batches[2]?.items, ['c', 'd', 'e'])
  batches[2]?.finish()
  await Promise.all(waiting)
})

t.test('no batch is larger than maxSize', async (t) => {
  const { batches, add } = createBatcher({ maxSize: 2 })
  for (const item of ['a', 'b', 'c']) add(item)
  await turn()
  await turn()
  t.strictSame(
    batches.map(({ items }) => items),
    [['a', 'b'], ['c']]
  )
})

t.test('results are handed out in parts, so that the next calls do not all arrive at once', async (t) => {
  const { batches, add } = createBatcher({ maxUnderWay: 1, resultsPerTurn: 2 })
  const answered: string[] = []
  const results = ['a', 'b', 'c', 'd', 'e'].map(async (item) => {
    answered.push(await add(item))
    if (item === 'a') answered.push(await add('a again'))
  })
  await turn()
  batches[0]?.finish()
  await turn()
  t.strictSame(answered, ['a!', 'b!'])
  await turn()
  t.strictSame(answered, ['a!', 'b!', 'c!', 'd!'])
  t.strictSame(batches[1]?.items, ['a again'])
  batches[1]?.finish()
  await Promise.all(results)
  t.strictSame(answered, ['a!', 'b!', 'c!', 'd!', 'a again!', 'e!'])
})

t.test('calls of one key are in different batches, in their order', async (t) => {
  const { batches, add } = createBatcher({ keyOf: (item) => item[0] as string })
  for (const item of ['a1', 'b1', 'a2', 'a3']) add(item)
  await turn()
  await turn()
  t.strictSame(
    batches.map(({ items }) => items),
    [['a1', 'b1'], ['a2']]
  )
})

t.test('an error fails the calls of its batch, and no others', async (t) => {
  const { batches, add } = createBatcher()
  const failing = ['a', 'b'].map((item) => add(item))
  await turn()
  const working = add('c')
  await turn()
  batches[0]?.fail(new Error('broken'))
  for (const call of failing) await t.rejects(call, { message: 'broken' })
  batches[1]?.finish()
  t.equal(await working, 'c!')
  const later = add('d')
  await turn()
  batches[2]?.finish()
  t.equal(await later, 'd!')
})

t.test('a batch that is refused is tried call by call, and each fails for itself', async (t) => {
  const tried: string[] = []
  const refused = new Error('refused')
  const later = gate()
  const { batches, add } = createBatcher({
    alone: async (item) => {
      tried.push(item)
      if (item === 'b') throw new Error('no b')
      if (item === 'c') await later.pass()
      return `${item} alone`
    },
    isRefused: (error) => error === refused,
    maxUnderWay: 1
  })
  const calls = ['a', 'b', 'c'].map((item) => add(item))
  await turn()
  batches[0]?.fail(refused)
  t.equal(await calls[0], 'a alone')
  await t.rejects(calls[1] as Promise<string>, { message: 'no b' })
  t.strictSame(tried, ['a', 'b', 'c'])

  const next = ['d', 'e'].map((item) => add(item))
  await turn()
  batches[1]?.finish()
  t.strictSame(await Promise.all(next), ['d!', 'e!'], 'no batch waits for the last of them')
  later.open()
  t.equal(await calls[2], 'c alone')
})

t.test('an error before the first await fails the call, not the process', async (t) => {
  const { add } = createBatcher({
    alone: () => {
      throw new Error('at once')
    }
  })
  await t.rejects(add('a'), { message: 'at once' })
  await t.rejects(add('b'), { message: 'at once' })
  await t.rejects(add('c'), { message: 'at once' }, 'none of them is under way any more')
})

t.test('a call whose deadline passed before it was sent fails, and the others go on', async (t) => {
  const { batches, add } = createBatcher({ maxUnderWay: 1 })
  const first = add('a')
  await turn()
  const late = add('b', deadlineIn(0))
  const inTime = add('c')
  batches[0]?.finish()
  await first
  await t.rejects(late, { message: 'timed out' })
  await turn()
  t.strictSame(batches[1]?.items, ['c'])
  batches[1]?.finish()
  t.equal(await inTime, 'c!')
})

t.test('a call fails soon after its own deadline, although its batch takes longer', async (t) => {
  const { batches, add } = createBatcher()
  const sooner = add('a', deadlineIn(0.01))
  const later = add('b')
  await turn()
  await alive(t.rejects(sooner, { message: 'no answer in time' }))
  batches[0]?.finish()
  t.equal(await later, 'b!')
})

t.test('an overdue call fails once, and not in the async context of a caller', async (t) => {
  const requests = new AsyncLocalStorage<string>()
  const seen: unknown[] = []
  const { batches, add } = createBatcher({
    timedOut: () => {
      seen.push(requests.getStore())
      return new Error('timed out')
    }
  })
  const [first, second] = requests.run('request', () => [add('a', deadlineIn(0.01)), add('b', deadlineIn(0.1))] as const)
  await turn()
  await alive(t.rejects(first, { message: 'timed out' }))
  await alive(t.rejects(second, { message: 'timed out' }))
  t.strictSame(seen, [undefined, undefined])
  batches[0]?.finish()
})

t.test('a call fails soon after its deadline, although earlier batches take longer', async (t) => {
  const { batches, add } = createBatcher({ maxUnderWay: 1 })
  const first = add('a')
  await turn()
  await alive(t.rejects(add('b', deadlineIn(0.01)), { message: 'timed out' }))
  batches[0]?.finish()
  t.equal(await first, 'a!')
  await turn()
  t.equal(batches.length, 1, 'it was not sent')
})

t.test('a batch has the latest deadline of its calls', async (t) => {
  const given: number[] = []
  const { add } = createBatcher({
    alone: async (item, deadline) => {
      given.push(deadline)
      return item
    },
    together: async (items, deadline) => {
      given.push(deadline)
      return items
    }
  })
  const [sooner, later] = [deadlineIn(50), deadlineIn(60)]
  await Promise.all([add('a', sooner), add('b', later), add('c', sooner)])
  await add('d', sooner)
  t.strictSame(given, [later, sooner])
})

t.test('a batch does not run in the async context of a caller', async (t) => {
  const requests = new AsyncLocalStorage<string>()
  const seen: unknown[] = []
  const { add } = createBatcher({
    together: async (items) => {
      seen.push(requests.getStore())
      return items
    }
  })
  const answered = await Promise.all(
    ['a', 'b'].map((item) =>
      requests.run(item, async () => {
        await add(item)
        return requests.getStore()
      })
    )
  )
  t.strictSame(seen, [undefined])
  t.strictSame(answered, ['a', 'b'], 'each caller goes on in its own')
})
