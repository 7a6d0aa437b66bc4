import t from 'tap'
import { Backoff } from '../lib/database/backoff.ts'

const failure = new Error('connect ECONNREFUSED')

/** A backoff, and the attempts that it allows to many callers, who all report a failure each millisecond. */
function outage() {
  let now = 1000
  const pass = (milliseconds: number) => {
    now += milliseconds
  }
  const backoff = new Backoff(() => now)
  const attemptsIn = (milliseconds: number) => {
    const attempts: number[] = []
    for (const end = now + milliseconds; now < end; now++) {
      for (let caller = 0; caller < 20; caller++) {
        if (backoff.claim()) attempts.push(now)
        backoff.failed(failure)
      }
    }
    return attempts.map((time, index) => time - (attempts[index - 1] ?? time))
  }
  return { backoff, attemptsIn, pass }
}

t.test('the pauses between attempts to connect double up to half a second, however many wait', async (t) => {
  const { backoff, attemptsIn } = outage()
  backoff.failed(failure)
  t.strictSame(attemptsIn(2000), [0, 50, 100, 200, 400, 500, 500])
})

t.test('after a success they begin anew, but no attempt comes before its pause is over', async (t) => {
  const { backoff, attemptsIn } = outage()
  backoff.failed(failure)
  attemptsIn(800)
  backoff.succeeded(true)
  t.equal(backoff.failure, null)
  backoff.failed(failure)
  t.strictSame(attemptsIn(449), [], 'a pause of 500 ms has begun 50 ms before')
  t.strictSame(attemptsIn(200), [0, 50, 100])
})

t.test('a statement on a connection that was open before does not end the pauses', async (t) => {
  const { backoff, attemptsIn } = outage()
  backoff.failed(failure)
  attemptsIn(800)
  backoff.succeeded(false)
  t.equal(backoff.failure, failure)
  t.strictSame(attemptsIn(449), [])
})

t.test('the first failure after a success is news, but not more often than every ten seconds', async (t) => {
  const { backoff, pass } = outage()
  t.equal(backoff.failed(failure), true)
  pass(60_000)
  t.equal(backoff.failed(failure), false, 'the outage is known')
  backoff.succeeded(false)
  t.equal(backoff.failed(failure), true, 'another one, though no new connection was made in between')
  backoff.succeeded(true)
  pass(9_999)
  t.equal(backoff.failed(failure), false, 'too soon')
  pass(1)
  t.equal(backoff.failed(failure), true, 'it lasts')
})
