import t from 'tap'
import { Batcher, type BatcherOptions, leftOut } from '../lib/database/batcher.ts'
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
    maxSize: 10,
    maxUnderWay: 2,
    ...options
  })
  return { batches, add: (item: string) => batcher.add(item), started: () => started.reached }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

t.test('calls of one turn leave together, and each gets its own result', async (t) => {
  const { batches, add } = createBatcher()
  const results = ['a', 'b', 'c'].map(add)
  await turn()
  t.strictSame(
    batches.map(({ items }) => items),
    [['a', 'b', 'c']]
  )
  batches[0]?.finish()
  t.strictSame(await Promise.all(results), ['a!', 'b!', 'c!'])
})

t.test('a lone call leaves at the end of its turn', async (t) => {
  const { batches, add } = createBatcher()
  add('a')
  await turn()
  t.equal(batches.length, 1)
})

t.test('beyond maxUnderWay calls wait, and leave together when a batch has ended', async (t) => {
  const { batches, add, started } = createBatcher()
  for (const item of ['a', 'b']) {
    add(item)
    await turn()
  }
  const waiting = ['c', 'd', 'e'].map(add)
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

t.test('results are handed out in parts, and who has one may be in the next batch before the others have theirs', async (t) => {
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

t.test('what is left out of a later part goes alone too', async (t) => {
  const alone: string[] = []
  const { add } = createBatcher({
    resultsPerTurn: 1,
    together: async (items) => items.map((item) => (item === 'b' ? leftOut : item)),
    alone: async (item) => {
      alone.push(item)
      return 'alone'
    }
  })
  t.strictSame(await Promise.all(['a', 'b', 'c'].map(add)), ['a', 'alone', 'c'])
  t.strictSame(alone, ['b'])
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
  const failing = ['a', 'b'].map(add)
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
  const calls = ['a', 'b', 'c'].map(add)
  await turn()
  batches[0]?.fail(refused)
  t.equal(await calls[0], 'a alone')
  await t.rejects(calls[1] as Promise<string>, { message: 'no b' })
  t.strictSame(tried, ['a', 'b', 'c'])

  const next = ['d', 'e'].map(add)
  await turn()
  batches[1]?.finish()
  t.strictSame(await Promise.all(next), ['d!', 'e!'], 'no batch waits for the last of them')
  later.open()
  t.equal(await calls[2], 'c alone')
})

t.test('what throws before it begins fails the call, and not the process', async (t) => {
  const { add } = createBatcher({
    alone: () => {
      throw new Error('at once')
    }
  })
  await t.rejects(add('a'), { message: 'at once' })
  await t.rejects(add('b'), { message: 'at once' })
  await t.rejects(add('c'), { message: 'at once' }, 'none of them is under way any more')
})

t.test('what a batch leaves out goes alone, and no batch waits for it', async (t) => {
  const locked = gate()
  const { add } = createBatcher({
    alone: async (item, since) => {
      if (item === 'b') await locked.pass()
      return `${item} alone, ${typeof since}`
    },
    together: async (items) => items.map((item) => (item === 'b' ? leftOut : `${item}!`)),
    maxUnderWay: 1
  })
  const [a, b, c] = ['a', 'b', 'c'].map(add)
  t.strictSame(await Promise.all([a, c]), ['a!', 'c!'])
  t.strictSame(await Promise.all(['d', 'e'].map(add)), ['d!', 'e!'])
  locked.open()
  t.equal(await b, 'b alone, number')
})

t.test('calls that go alone and wait for a lock leave room for batches, however they came', async (t) => {
  const locked = gate()
  const alone: string[] = []
  const { add } = createBatcher({
    alone: async (item) => {
      alone.push(item)
      if (item.startsWith('locked')) await locked.pass()
      return `${item} alone`
    },
    together: async (items) => items.map((item) => (item.startsWith('locked') ? leftOut : `${item}!`))
  })
  const calls: Promise<string>[] = []
  for (const item of ['locked 1', 'locked 2', 'locked 3', 'locked 4', 'locked 5']) {
    calls.push(add(item))
    await turn()
  }
  t.equal(await add('a'), 'a!')
  t.strictSame(await Promise.all(['b', 'c'].map(add)), ['b!', 'c!'])
  t.strictSame(
    alone,
    [1, 2, 3, 4, 5].map((number) => `locked ${number}`)
  )
  locked.open()
  t.strictSame(
    await Promise.all(calls),
    [1, 2, 3, 4, 5].map((number) => `locked ${number} alone`)
  )
  t.equal(await add('d'), 'd alone')
})

t.test('a result that takes longer is a promise, for which nothing else waits', async (t) => {
  const slow = gate()
  const alone: string[] = []
  const { add } = createBatcher({
    together: async (items) =>
      items.map((item) => {
        if (item === 'b') return slow.pass().then(() => leftOut)
        if (item === 'c') return slow.pass().then(() => Promise.reject(new Error('no c')))
        return `${item}!`
      }),
    alone: async (item) => {
      alone.push(item)
      return `${item} alone`
    },
    maxUnderWay: 1,
    resultsPerTurn: 1
  })
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(add)
  t.strictSame(await Promise.all([a, d]), ['a!', 'd!'])
  t.strictSame(await Promise.all(['e', 'f'].map(add)), ['e!', 'f!'], 'the next batch')
  t.strictSame(alone, [])
  slow.open()
  t.equal(await b, 'b alone')
  await t.rejects(c as Promise<string>, { message: 'no c' })
})

t.test('what is overdue before it is sent fails for itself', async (t) => {
  let overdue = Number.NEGATIVE_INFINITY
  const { batches, add, started } = createBatcher({
    alone: async (item) => {
      throw new Error(`${item} is overdue`)
    },
    isOverdue: (since) => since <= overdue,
    maxUnderWay: 1
  })
  const first = ['a', 'b'].map(add)
  await turn()
  const late = ['c', 'd'].map(add)
  await turn()
  overdue = performance.now()
  while (performance.now() === overdue);
  const inTime = ['e', 'f'].map(add)
  const next = started()
  batches[0]?.finish()
  await Promise.all(first)
  await t.rejects(late[0] as Promise<string>, { message: 'c is overdue' })
  await t.rejects(late[1] as Promise<string>, { message: 'd is overdue' })
  await next
  t.strictSame(batches[1]?.items, ['e', 'f'])
  batches[1]?.finish()
  t.strictSame(await Promise.all(inTime), ['e!', 'f!'])
})

t.test('a lone call is sent as a batch where it may not wait', async (t) => {
  let mayWait = false
  const { add } = createBatcher({
    alone: async (item) => `${item} alone`,
    together: async (items) => items.map((item) => `${item}!`),
    mayWait: () => mayWait
  })
  t.equal(await add('a'), 'a!')
  mayWait = true
  t.equal(await add('b'), 'b alone')
})
