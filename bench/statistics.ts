/** What was measured, and the two figures that are made of it. */
import type { Route } from './suites.ts'

/** One contender for one round. */
export interface Sample {
  requestsPerSecond: number
  /** Milliseconds. */
  p50: number
  p90: number
  p99: number
  /** CPU time per request in microseconds. */
  serverCpu: number
  databaseCpu: number
  /** Requests that failed. */
  errors: number
}

export interface ContenderResult {
  contender: string
  title: string
  /** NaN where they cannot be counted. */
  statementsPerRequest: number | null
  rounds: Sample[]
}

export interface CellResult {
  suite: string
  route: Route
  connections: number
  results: ContenderResult[]
}

export type Figure = keyof Sample

export interface Ratio {
  median: number
  min: number
  max: number
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2
}

export function medianOf({ rounds }: ContenderResult, figure: Figure): number {
  return median(rounds.map((sample) => sample[figure]))
}

/** Round by round, since what disturbs a machine disturbs both. */
export function pairedRatio(ours: ContenderResult, theirs: ContenderResult, figure: Figure): Ratio {
  const ratios = ours.rounds.map((sample, round) => sample[figure] / (theirs.rounds[round]?.[figure] ?? Number.NaN))
  return { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) }
}

/** The one that the others are compared with. */
export function oursOf({ results }: CellResult): ContenderResult | undefined {
  return results.find(({ contender }) => contender.startsWith('ours'))
}
