/** The program that judges the histories of test/ha: each promise that is not kept is counted, and nothing else. */
import t from 'tap'
import { type Content, type End, judge, type Verdict, type Visit } from './ha/history.ts'

const KEPT: Partial<Verdict> = { errors: 0, down: 0, lost: 0, undone: 0, anonymous: 0, stale: 0, behind: 0, wrong: 0 }

/** What a session with these writes holds. */
const holding = (...writes: number[]): Content => ({ visitor: 0, life: 0, writes, twin: writes })

/** Writes are numbered from 1 on, with the login. */
type Step = [what: Visit['what'], status: number, seen?: Content | null]

/** The visits of one session, with 100 ms from one request to the next. */
function visitsOf(steps: readonly Step[]): Visit[] {
  let writes = 0
  return steps.map(([what, status, seen], index) => {
    const visit: Visit = { visitor: 0, life: 0, what, process: 0, start: index * 100, end: index * 100 + 50, status }
    if (what === 'login' || what === 'write') visit.id = ++writes
    return seen === undefined ? visit : { ...visit, seen }
  })
}

function judged(steps: readonly Step[], seen: Content | null): Verdict {
  return judge(visitsOf(steps), [{ visitor: 0, life: 0, seen }], { fault: 0, stop: steps.length * 100 })
}

const LOGIN: Step = ['login', 200]

const CASES: Record<string, { steps: Step[]; end: Content | null; verdict: Partial<Verdict> }> = {
  'a visit without a fault': { steps: [LOGIN, ['write', 200], ['read', 200, holding(1, 2)]], end: holding(1, 2), verdict: {} },
  'a logout': { steps: [LOGIN, ['logout', 200], ['read', 200, null]], end: null, verdict: {} },
  'a write that was acknowledged and is gone': { steps: [LOGIN, ['write', 200]], end: holding(1), verdict: { lost: 1 } },
  'a session that is gone': { steps: [LOGIN, ['write', 200]], end: null, verdict: { lost: 2 } },
  'a session that is gone, and another in its place': {
    steps: [LOGIN, ['write', 200], ['write', 200]],
    end: holding(3),
    verdict: { lost: 2 }
  },
  'a write that was answered by 503, and may have happened': {
    steps: [LOGIN, ['write', 503]],
    end: holding(1, 2),
    verdict: { errors: 1 }
  },
  'a write that was answered by 503, and did not happen': { steps: [LOGIN, ['write', 503]], end: holding(1), verdict: { errors: 1 } },
  'a write that was lost behind one that was answered by 503 and happened': {
    steps: [LOGIN, ['write', 503], ['write', 200]],
    end: holding(1, 2),
    verdict: { errors: 1, lost: 1 }
  },
  'a read without a write that was acknowledged, but with one that was answered by 503': {
    steps: [LOGIN, ['write', 503], ['write', 200], ['read', 200, holding(1, 2)]],
    end: holding(1, 2, 3),
    verdict: { errors: 1, stale: 1, behind: 0.05 }
  },
  'a write that was answered by 503, was seen, and is gone': {
    steps: [LOGIN, ['write', 503], ['read', 200, holding(1, 2)]],
    end: holding(1),
    verdict: { errors: 1, lost: 1 }
  },
  'a write that was refused by 400, and happened': {
    steps: [LOGIN, ['write', 400]],
    end: holding(1, 2),
    verdict: { errors: 1, wrong: 1 }
  },
  'a write that happened twice': { steps: [LOGIN, ['write', 200]], end: holding(1, 2, 2), verdict: { wrong: 1 } },
  'a write before anybody asked for it': {
    steps: [LOGIN, ['read', 200, holding(1, 2)], ['write', 200]],
    end: holding(1, 2),
    verdict: { wrong: 1 }
  },
  'half a write': { steps: [LOGIN, ['write', 200]], end: { ...holding(1, 2), twin: [1] }, verdict: { wrong: 1 } },
  'the session of another visitor, with as many writes': {
    steps: [LOGIN, ['read', 200, { ...holding(1), visitor: 1 }]],
    end: holding(1),
    verdict: { wrong: 1 }
  },
  'an earlier session of the visitor': {
    steps: [LOGIN, ['logout', 200], ['read', 200, { ...holding(1), life: 7 }]],
    end: null,
    verdict: { wrong: 1, stale: 1, behind: 0.05 }
  },
  'a logout that was acknowledged, and is undone': { steps: [LOGIN, ['logout', 200]], end: holding(1), verdict: { undone: 1 } },
  'a logout without an answer': { steps: [LOGIN, ['logout', 0]], end: null, verdict: { errors: 1 } },
  'a logout that was answered by 503, and did not happen': { steps: [LOGIN, ['logout', 503]], end: holding(1), verdict: { errors: 1 } },
  'a logout that was answered by 503, was seen, and is undone': {
    steps: [LOGIN, ['logout', 503], ['read', 200, null]],
    end: holding(1),
    verdict: { errors: 1, undone: 1 }
  },
  'a logout that is not seen at once': {
    steps: [LOGIN, ['logout', 200], ['read', 200, holding(1)]],
    end: null,
    verdict: { stale: 1, behind: 0.05 }
  },
  'a read that is answered as for nobody': { steps: [LOGIN, ['read', 200, null]], end: holding(1), verdict: { anonymous: 1 } },
  'a read of an old state, which was known to be old for a while': {
    steps: [LOGIN, ['write', 200], ['read', 200, holding(1, 2)], ['read', 200, holding(1)]],
    end: holding(1, 2),
    verdict: { stale: 1, behind: 0.15 }
  },
  'a read that goes back behind an earlier one': {
    steps: [LOGIN, ['write', 503], ['read', 200, holding(1, 2)], ['read', 200, holding(1)]],
    end: holding(1, 2),
    verdict: { errors: 1, stale: 1, behind: 0.05 }
  }
}

for (const [title, { steps, end, verdict }] of Object.entries(CASES)) {
  t.test(title, async (t) => t.match(judged(steps, end), { ...KEPT, ...verdict }))
}

t.test('errors are counted by what was asked and answered, with logouts that were refused by themselves', async (t) => {
  const verdict = judged([LOGIN, ['write', 503], ['write', 503], ['logout', 503]], null)
  t.match(verdict, { errors: 3, failures: 2, kinds: { 'write 503': 2, 'logout 503': 1 } })
})

t.test('a session that nobody could read in the end is gone', async (t) => {
  t.match(judge(visitsOf([LOGIN, ['write', 200]]), [], { fault: 0, stop: 200 }), { lost: 2 })
})

t.test('a session that nobody made', async (t) => {
  const ends: End[] = [{ visitor: 3, life: 0, seen: { ...holding(9), visitor: 3 } }]
  t.match(judge(visitsOf([LOGIN]), [...ends, { visitor: 0, life: 0, seen: holding(1) }], { fault: 0, stop: 100 }), { wrong: 1 })
})

t.test('two writers at the same time: a read that began before the second one was answered may see it or not', async (t) => {
  const at = (what: Visit['what'], start: number, end: number, more: Partial<Visit>): Visit => ({
    ...{ visitor: 0, life: 0, what, process: 0, start, end, status: 200 },
    ...more
  })
  const visits = (seen: Content) => [
    at('login', 0, 10, { id: 1 }),
    at('write', 20, 60, { id: 2 }),
    at('write', 30, 40, { id: 3 }),
    at('read', 50, 70, { seen })
  ]
  const verdictOn = (seen: Content, end: Content) => judge(visits(seen), [{ visitor: 0, life: 0, seen: end }], { fault: 0, stop: 100 })
  t.match(verdictOn(holding(1, 3), holding(1, 3, 2)), KEPT)
  t.match(verdictOn(holding(1, 3, 2), holding(1, 3, 2)), KEPT)
  t.match(verdictOn(holding(1, 2), holding(1, 2)), { ...KEPT, stale: 1, behind: 0.01, lost: 1 })
})

t.test('the gap is the longest time without an answer of 200, over all visitors', async (t) => {
  const at = (end: number, status: number): Visit => ({ visitor: end, life: 0, what: 'login', process: 0, start: end - 1, end, status })
  const gap = (visits: Visit[], stop: number) => judge(visits, [], { fault: 0, stop }).gap
  t.equal(gap([at(3000, 200), at(100, 200), at(500, 200), at(1500, 503)], 3100), 2.5)
  t.equal(gap([at(1000, 200), at(4000, 503), at(31_000, 503)], 31_000), 30, 'an outage that lasts to the end')
  t.equal(gap([at(1000, 200), at(1400, 200), at(9000, 200)], 2000), 1, 'after the last request they only wait for its answer')
  t.equal(gap([], 5000), 5, 'an outage from the beginning')
})

t.test('a process is down if it answers nothing by 200 after the fault', async (t) => {
  const at = (start: number, process: number, status: number): Visit => ({
    ...{ visitor: 0, life: start, what: 'login', process, start, end: start + 5, status }
  })
  const down = (...visits: Visit[]) => judge(visits, [], { fault: 1000, stop: 2000 }).down
  t.equal(down(at(0, 0, 200), at(0, 1, 200), at(1000, 0, 200), at(1100, 1, 200)), 0)
  t.equal(down(at(0, 0, 200), at(0, 1, 200), at(1000, 0, 200), at(1100, 1, 503)), 1)
  t.equal(down(at(0, 0, 200), at(999, 0, 200)), 1, 'what began before the fault says nothing')
  t.equal(down(...Array.from({ length: 200 }, (_, index) => at(index * 10, 0, 503))), 1, 'nobody ever got in')
  t.equal(down(), 1, 'nobody asked')
})
