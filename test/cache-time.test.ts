import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { deadlineIn, hasPassed } from '../lib/deadline.ts'
import { CacheTime } from '../lib/engines/cache-time.ts'

t.test('the cache steps of an operation share a fifth of storeTimeout', async (t) => {
  const time = new CacheTime(0.05, deadlineIn(60))
  await t.rejects(
    time.spend(async (deadline) => {
      t.ok(deadline <= deadlineIn(0.01))
      while (!hasPassed(deadline)) await turn()
      throw new Error('timed out')
    }),
    { message: 'timed out' }
  )
  t.ok(await time.spend(async (deadline) => hasPassed(deadline)), 'nothing is left for the next steps')
})

t.test('what the database needs does not count, and the deadline of the operation holds', async (t) => {
  const deadline = deadlineIn(1)
  const time = new CacheTime(600, deadline)
  await turn()
  t.equal(await time.spend(async (until) => until), deadline)
})
