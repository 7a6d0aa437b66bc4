import { execFileSync } from 'node:child_process'
import { stat } from 'node:fs/promises'
import t from 'tap'
import { deadlineIn, hasPassed, withDeadline } from '../lib/deadline.ts'

const never = new Promise<never>(() => {})
const timedOut = () => new Error('timed out')

t.test('an answer in time is passed on, as is a failure', async (t) => {
  t.equal(await withDeadline(Promise.resolve('answer'), deadlineIn(60), timedOut), 'answer')
  const failure = new Error('failed')
  await t.rejects(withDeadline(Promise.reject(failure), deadlineIn(60), timedOut), failure)
})

t.test('each answer has its own deadline', async (t) => {
  const ended: number[] = []
  const waits = [0.03, 0.01, 0.02].map((seconds) =>
    withDeadline(never, deadlineIn(seconds), () => {
      ended.push(seconds)
      return timedOut()
    })
  )
  await Promise.all(waits.map((wait) => t.rejects(wait, { message: 'timed out' })))
  t.strictSame(ended, [0.01, 0.02, 0.03])
})

t.test('a deadline that has passed already ends the wait', async (t) => {
  const deadline = deadlineIn(-1)
  t.ok(hasPassed(deadline))
  t.notOk(hasPassed(deadlineIn(60)))
  await t.rejects(withDeadline(never, deadline, timedOut), { message: 'timed out' })
})

t.test('nothing times out after its answer', async (t) => {
  let calls = 0
  const count = () => {
    calls++
    return timedOut()
  }
  await withDeadline(Promise.resolve(), deadlineIn(0.001), count)
  await t.rejects(withDeadline(never, deadlineIn(0.002), timedOut))
  t.equal(calls, 0)
})

t.test('an answer after the deadline is dropped, and no unhandled rejection', async (t) => {
  let fail = (_error: Error) => {}
  const answer = new Promise((_resolve, reject) => (fail = reject))
  await t.rejects(withDeadline(answer, deadlineIn(0.001), timedOut), { message: 'timed out' })
  fail(new Error('too late'))
})

t.test('an answer that arrived while the event loop was blocked is in time', async (t) => {
  const answer = stat(new URL(import.meta.url))
  // Blocks until the deadline has passed. The thread pool answers meanwhile, which only the next poll for I/O can see.
  const deadline = deadlineIn(0.01)
  const wait = withDeadline(answer, deadline, timedOut)
  execFileSync(process.execPath, ['--version'])
  while (!hasPassed(deadline));
  await t.resolves(wait)
})

t.test('a wait that has ended does not keep the process alive', async (t) => {
  const file = new URL('../lib/deadline.ts', import.meta.url)
  const program = `const { deadlineIn, withDeadline } = await import(${JSON.stringify(file)})
    await withDeadline(new Promise(() => {}), deadlineIn(0.01), () => new Error()).catch(() => console.log('ended'))
    await withDeadline(Promise.resolve(), deadlineIn(600), () => new Error())`
  const output = execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', program], { timeout: 60_000 })
  t.equal(String(output), 'ended\n')
})
