/**
 * Histories of visitors, and the program that judges them. It knows nothing of servers and faults: from what was
 * asked and answered, and what the sessions hold in the end, it tells what was promised and not kept.
 */

/** What a session holds. Each write adds its number to both lists at once: one without the other is half a state. */
export interface Content {
  visitor: number
  life: number
  writes: number[]
  twin: number[]
}

/** One request and its answer. */
export interface Visit {
  visitor: number
  /** The visitor's sessions are numbered: each login begins another one. */
  life: number
  /** A login is the first write. */
  what: 'login' | 'write' | 'read' | 'logout'
  /** The number of a write, which no other has. */
  id?: number
  /** The process that was asked. */
  process: number
  /** Milliseconds since the beginning. */
  start: number
  end: number
  /** The status of the answer; 0 for none. 200 says that it happened, 400 that it did not, everything else says nothing. */
  status: number
  /** What a read saw; null for an anonymous visitor. */
  seen?: Content | null
}

/** What a session holds in the end, read by its last cookie; null for none. */
export interface End {
  visitor: number
  life: number
  seen: Content | null
}

/** Milliseconds since the beginning. */
export interface Times {
  /** When the fault was over: from then on there was a server. */
  fault: number
  /** When the visitors began no more requests. */
  stop: number
}

export interface Verdict {
  answers: number
  /** Answers other than 200, and requests without an answer. */
  errors: number
  /** Those of them that are no logout answered by 503, which `cached_db` may not carry out without the cache. */
  failures: number
  /** How many errors there were of each kind, such as `logout 503`. */
  kinds: Record<string, number>
  /** Seconds, over all visitors together, without an answer of 200. */
  gap: number
  /** Processes that answered no request by 200 which began after the fault. */
  down: number
  /** Writes that were acknowledged, or seen once, and are gone in the end. */
  lost: number
  /** Logouts that were acknowledged, or seen once, and whose session is there in the end. */
  undone: number
  /** Reads with a good cookie that were answered as for nobody. */
  anonymous: number
  /** Reads that saw an older state than was known before they began, or a session that had been ended. */
  stale: number
  /** For how many seconds, at most, a stale read's newer state had been known. */
  behind: number
  /** What was never asked for, or twice what was asked for once, half a write, or the session of another: never, whatever fails. */
  wrong: number
}

export function judge(visits: readonly Visit[], ends: readonly End[], { fault, stop }: Times): Verdict {
  const verdict: Verdict = {
    answers: visits.length,
    ...errorsOf(visits),
    gap: gapOf(visits, stop),
    down: downOf(visits, fault),
    ...NOTHING
  }
  const names = new Map([...visits, ...ends].map(({ visitor, life }) => [`${visitor}/${life}`, { visitor, life }]))
  for (const name of names.values()) {
    const isOfIt = ({ visitor, life }: Name) => visitor === name.visitor && life === name.life
    // A session without a cookie to read it by is gone.
    judgeLife(name, visits.filter(isOfIt), ends.find(isOfIt)?.seen ?? null, verdict)
  }
  return verdict
}

type Name = Pick<Visit, 'visitor' | 'life'>

const NOTHING = { lost: 0, undone: 0, anonymous: 0, stale: 0, behind: 0, wrong: 0 }

const happened = ({ status }: Visit) => status === 200
/** A request that was refused with 400 changed nothing. */
const mayHaveHappened = ({ status }: Visit) => status !== 400
const isLogout = ({ what }: Visit) => what === 'logout'

function errorsOf(visits: readonly Visit[]): Pick<Verdict, 'errors' | 'failures' | 'kinds'> {
  const errors = visits.filter((visit) => !happened(visit))
  const kinds: Record<string, number> = {}
  for (const { what, status } of errors) kinds[`${what} ${status}`] = (kinds[`${what} ${status}`] ?? 0) + 1
  return { errors: errors.length, failures: errors.length - (kinds['logout 503'] ?? 0), kinds }
}

function gapOf(visits: readonly Visit[], stop: number): number {
  const answers = visits.filter((visit) => happened(visit) && visit.end < stop).map(({ end }) => end)
  // An outage may begin at once, or last to the end.
  const moments = [0, ...answers, stop].sort((a, b) => a - b)
  return Math.max(...moments.map((moment, index) => moment - (moments[index - 1] ?? 0))) / 1000
}

function downOf(visits: readonly Visit[], fault: number): number {
  const asked = new Set(visits.map(({ process }) => process))
  const served = new Set(visits.filter((visit) => happened(visit) && visit.start >= fault).map(({ process }) => process))
  // Where nobody was asked, nothing is known to work.
  return Math.max(asked.size, 1) - served.size
}

/** What must and may be seen at some time. */
interface Expected {
  /** When each write became known. */
  must: ReadonlyMap<number, number>
  may: ReadonlySet<number>
  /** When it became known that the session had been ended; Infinity for never. */
  ended: number
  mayBeEnded: boolean
}

/** What was known before the observation began is in it, and what was not asked before it ended is not. */
function expected(life: readonly Visit[], start: number, end: number): Expected {
  const asked = life.filter((visit) => visit.start < end && mayHaveHappened(visit))
  const known = life.filter((visit) => visit.end <= start && happened(visit))
  const may = new Set(asked.flatMap(({ id }) => id ?? []))
  const must = new Map<number, number>()
  // What was seen once must stay.
  for (const visit of known.sort((a, b) => a.end - b.end)) {
    for (const id of visit.seen?.writes ?? [visit.id]) if (id !== undefined && may.has(id) && !must.has(id)) must.set(id, visit.end)
  }
  const hasAsked = (moment: number) => life.some((visit) => isLogout(visit) && visit.start < moment && mayHaveHappened(visit))
  const endings = known.filter((visit) => isLogout(visit) || (visit.seen === null && hasAsked(visit.end)))
  return { must, may, ended: Math.min(...endings.map(({ end }) => end)), mayBeEnded: hasAsked(end) }
}

function judgeLife(name: Name, life: readonly Visit[], end: Content | null, verdict: Verdict): void {
  for (const { start, end, seen } of life.filter((visit) => visit.what === 'read' && happened(visit)))
    judgeRead(name, expected(life, start, end), start, seen ?? null, verdict)
  judgeEnd(name, expected(life, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY), end, verdict)
}

function judgeRead(name: Name, { must, may, ended, mayBeEnded }: Expected, start: number, seen: Content | null, verdict: Verdict): void {
  if (seen === null) {
    if (!mayBeEnded) verdict.anonymous++
    return
  }
  if (isImpossible(name, may, seen)) verdict.wrong++
  const newer = Math.min(ended, ...missing(must, seen).map((id) => must.get(id) as number))
  if (newer === Number.POSITIVE_INFINITY) return
  verdict.stale++
  verdict.behind = Math.max(verdict.behind, (start - newer) / 1000)
}

function judgeEnd(name: Name, { must, may, ended, mayBeEnded }: Expected, seen: Content | null, verdict: Verdict): void {
  if (seen === null) {
    if (!mayBeEnded) verdict.lost += must.size
    return
  }
  if (isImpossible(name, may, seen)) verdict.wrong++
  if (ended === Number.POSITIVE_INFINITY) verdict.lost += missing(must, seen).length
  else verdict.undone++
}

const missing = (must: Expected['must'], { writes }: Content) => [...must.keys()].filter((id) => !writes.includes(id))

function isImpossible({ visitor, life }: Name, may: ReadonlySet<number>, seen: Content): boolean {
  const isOfAnother = seen.visitor !== visitor || seen.life !== life
  const isHalf = String(seen.writes) !== String(seen.twin)
  const isTwice = new Set(seen.writes).size < seen.writes.length
  return isOfAnother || isHalf || isTwice || seen.writes.some((id) => !may.has(id))
}
