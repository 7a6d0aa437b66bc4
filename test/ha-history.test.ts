/** The program that judges the histories of test/ha: each promise that is not kept is counted, and nothing else. */
import t from 'tap'
import { judge, type Verdict, type Visit } from './ha/history.ts'

const KEPT: Partial<Verdict> = { errors: 0, lost: 0, undone: 0, anonymous: 0, stale: 0, wrong: 0 }

type Step = [what: Visit['what'], status: number, seen?: number | null]

/** The verdict on one session, with 100 ms from one answer to the next. */
function judged(steps: readonly Step[], count: number | null): Verdict {
  let isEnded = false
  const visits = steps.map(([what, status, seen], index): Visit => {
    const visit = { visitor: 0, life: 0, what, process: 0, start: index * 100, end: index * 100 + 50, status, isAfterLogout: isEnded }
    isEnded ||= what === 'logout' && status === 200
    return seen === undefined ? visit : { ...visit, seen }
  })
  return judge(visits, [{ visitor: 0, life: 0, count }])
}

const CASES: Record<string, { steps: Step[]; end: number | null; verdict: Partial<Verdict> }> = {
  'a visit without a fault': {
    steps: [
      ['login', 200],
      ['count', 200],
      ['read', 200, 2]
    ],
    end: 2,
    verdict: {}
  },
  'a logout': {
    steps: [
      ['login', 200],
      ['logout', 200],
      ['read', 200, null]
    ],
    end: null,
    verdict: {}
  },
  'a count that was acknowledged and is gone': {
    steps: [
      ['login', 200],
      ['count', 200]
    ],
    end: 1,
    verdict: { lost: 1 }
  },
  'a session that is gone': {
    steps: [
      ['login', 200],
      ['count', 200]
    ],
    end: null,
    verdict: { lost: 2 }
  },
  'a count that was answered by 503, and may have happened': {
    steps: [
      ['login', 200],
      ['count', 503]
    ],
    end: 2,
    verdict: { errors: 1 }
  },
  'a count that was refused by 400, and happened': {
    steps: [
      ['login', 200],
      ['count', 400]
    ],
    end: 2,
    verdict: { errors: 1, wrong: 1 }
  },
  'a logout that was acknowledged, and is undone': {
    steps: [
      ['login', 200],
      ['logout', 200]
    ],
    end: 1,
    verdict: { undone: 1 }
  },
  'a logout without an answer': {
    steps: [
      ['login', 200],
      ['logout', 0]
    ],
    end: null,
    verdict: { errors: 1 }
  },
  'a logout that is not seen at once': {
    steps: [
      ['login', 200],
      ['logout', 200],
      ['read', 200, 1]
    ],
    end: null,
    verdict: { stale: 1 }
  },
  'a read that is answered as for nobody': {
    steps: [
      ['login', 200],
      ['read', 200, null]
    ],
    end: 1,
    verdict: { anonymous: 1 }
  },
  'a read of an old state': {
    steps: [
      ['login', 200],
      ['count', 200],
      ['read', 200, 1]
    ],
    end: 2,
    verdict: { stale: 1 }
  },
  'a read that goes back behind an earlier one': {
    steps: [
      ['login', 200],
      ['count', 503],
      ['read', 200, 2],
      ['read', 200, 1]
    ],
    end: 2,
    verdict: { errors: 1, stale: 1 }
  },
  'more than was ever asked for': {
    steps: [
      ['login', 200],
      ['read', 200, 2]
    ],
    end: 2,
    verdict: { wrong: 2 }
  }
}

for (const [title, { steps, end, verdict }] of Object.entries(CASES)) {
  t.test(title, async (t) => t.match(judged(steps, end), { ...KEPT, ...verdict }))
}

t.test('the gap is the longest time without an answer of 200, over all visitors', async (t) => {
  const at = (end: number, status: number): Visit => ({ visitor: end, life: 0, what: 'login', process: 0, start: end - 1, end, status })
  t.match(judge([at(3000, 200), at(0, 200), at(500, 200), at(1500, 503)], []), { gap: 2.5 })
})
