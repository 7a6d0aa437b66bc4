/**
 * Histories of visitors, and the program that judges them. It knows nothing of servers and faults: from what was
 * asked and answered, and what the sessions hold in the end, it tells what was promised and not kept.
 */

/** One request and its answer. */
export interface Visit {
  visitor: number
  /** The visitor's sessions are numbered: each login begins another one. */
  life: number
  what: 'login' | 'count' | 'read' | 'logout'
  /** The process that was asked. */
  process: number
  /** Milliseconds since the beginning. */
  start: number
  end: number
  /** The status of the answer; 0 for none. 200 says that it happened, 400 that it did not, everything else says nothing. */
  status: number
  /** What a read saw: the counter of the session, or null for an anonymous visitor. */
  seen?: number | null
  /** After a logout that was acknowledged, the old cookie is tried again. */
  isAfterLogout?: boolean
}

/** What a session holds in the end, read by its last cookie; null for none. */
export interface End {
  visitor: number
  life: number
  count: number | null
}

export interface Verdict {
  answers: number
  /** Answers other than 200, and requests without an answer. */
  errors: number
  /** Seconds, over all visitors together, without an answer of 200. */
  gap: number
  /** Acknowledged logins and counts that are gone in the end. */
  lost: number
  /** Acknowledged logouts whose session is there in the end. */
  undone: number
  /** Reads with a good cookie that were answered as for nobody. */
  anonymous: number
  /** Reads that saw an older state than was acknowledged before they began, or a session that had been ended. */
  stale: number
  /** More than was ever asked for, or the session of another: never, whatever fails. */
  wrong: number
}

export function judge(visits: readonly Visit[], ends: readonly End[]): Verdict {
  const lives = new Map<string, Visit[]>()
  for (const visit of visits) {
    const key = `${visit.visitor}/${visit.life}`
    const life = lives.get(key)
    if (life === undefined) lives.set(key, [visit])
    else life.push(visit)
  }
  const verdict: Verdict = { answers: visits.length, errors: errorsOf(visits), gap: gapOf(visits), ...NOTHING }
  for (const life of lives.values()) judgeReads(life, verdict)
  for (const { visitor, life, count } of ends) judgeEnd(lives.get(`${visitor}/${life}`) ?? [], count, verdict)
  return verdict
}

const NOTHING = { lost: 0, undone: 0, anonymous: 0, stale: 0, wrong: 0 }

const happened = ({ status }: Visit) => status === 200
/** A request that was refused with 400 changed nothing. */
const mayHaveHappened = ({ status }: Visit) => status !== 400
const writes = ({ what }: Visit) => what === 'login' || what === 'count'

const errorsOf = (visits: readonly Visit[]) => visits.filter((visit) => !happened(visit)).length

function gapOf(visits: readonly Visit[]): number {
  const ends = visits
    .filter(happened)
    .map(({ end }) => end)
    .sort((a, b) => a - b)
  const gaps = ends.slice(1).map((end, index) => end - (ends[index] as number))
  return Math.max(0, ...gaps) / 1000
}

/** A visitor has one request at a time, so that what was acknowledged before a read began must be in it. */
function judgeReads(life: readonly Visit[], verdict: Verdict): void {
  let least = 0
  let most = 0
  let mayBeEnded = false
  for (const visit of life) {
    if (writes(visit)) {
      if (happened(visit)) least++
      if (mayHaveHappened(visit)) most++
    } else if (visit.what === 'logout') {
      mayBeEnded ||= mayHaveHappened(visit)
    } else if (happened(visit)) {
      const seen = visit.seen ?? null
      if (visit.isAfterLogout) verdict.stale += seen === null ? 0 : 1
      else if (seen === null) verdict.anonymous += mayBeEnded ? 0 : 1
      else if (seen < least) verdict.stale++
      else if (seen > most) verdict.wrong++
      // What was seen once must stay.
      if (seen !== null && !visit.isAfterLogout) least = Math.max(least, seen)
    }
  }
}

function judgeEnd(life: readonly Visit[], count: number | null, verdict: Verdict): void {
  const least = life.filter((visit) => writes(visit) && happened(visit)).length
  const most = life.filter((visit) => writes(visit) && mayHaveHappened(visit)).length
  const logouts = life.filter(({ what }) => what === 'logout')
  if (logouts.some(happened)) {
    if (count !== null) verdict.undone++
  } else if (count === null) {
    if (!logouts.some(mayHaveHappened)) verdict.lost += least
  } else if (count < least) verdict.lost += least - count
  else if (count > most) verdict.wrong++
}
