import { execFileSync } from 'node:child_process'
import t from 'tap'
import { within } from '../lib/deadline.ts'

const never = new Promise<never>(() => {})
const overdue = () => new Error('overdue')

t.test('an answer in time is passed on, as is a failure', async (t) => {
  t.equal(await within(Promise.resolve('answer'), 60, overdue), 'answer')
  const failure = new Error('failed')
  await t.rejects(within(Promise.reject(failure), 60, overdue), failure)
})

t.test('each wait ends at its own time, also one that begins later and ends sooner', async (t) => {
  let answer = (_text: string) => {}
  const long = within(new Promise<string>((resolve) => (answer = resolve)), 60, overdue)
  const ended: string[] = []
  const short = [0.03, 0.01, 0.02].map((timeout) =>
    within(never, timeout, () => {
      ended.push(`${timeout}`)
      return overdue()
    })
  )
  await Promise.all(short.map((wait) => t.rejects(wait, { message: 'overdue' })))
  t.strictSame(ended, ['0.01', '0.02', '0.03'])
  answer('after all')
  t.equal(await long, 'after all')
})

t.test('a wait that began before counts from then', async (t) => {
  await t.rejects(within(never, 60, overdue, performance.now() - 60_000), { message: 'overdue' })
})

t.test('what has ended is not ended again', async (t) => {
  let calls = 0
  const count = () => {
    calls++
    return overdue()
  }
  await within(Promise.resolve(), 0.001, count)
  await t.rejects(within(never, 0.002, overdue))
  t.equal(calls, 0)
})

t.test('an answer that comes too late is nobody’s, and no unhandled rejection', async (t) => {
  let fail = (_error: Error) => {}
  const answer = new Promise((_resolve, reject) => (fail = reject))
  await t.rejects(within(answer, 0.001, overdue), { message: 'overdue' })
  fail(new Error('too late'))
})

t.test('the timer keeps no process, but waits do', async (t) => {
  const file = new URL('../lib/deadline.ts', import.meta.url)
  const program = `const { within } = await import(${JSON.stringify(file)})
    await within(new Promise(() => {}), 0.01, () => new Error()).catch(() => console.log('ended'))
    await within(Promise.resolve(), 600, () => new Error())`
  const output = execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', program], { timeout: 60_000 })
  t.equal(String(output), 'ended\n')
})
