/** About 150 bytes each. Beyond them, sessions that were seen longest ago are written once more. */
const MAX_KEYS = 20_000

/** The sessions whose last use was written a short time ago, so that it need not be written now. */
export class RecentlySeen {
  readonly #lifetime: number
  readonly #now: () => number
  /** The moments until which they count as seen, in the order in which they were added. */
  readonly #ends = new Map<string, number>()

  /**
   * @param lifetime seconds
   * @param now milliseconds on the option `clock`. Setting it back only delays the next write
   */
  constructor(lifetime: number, now: () => number) {
    this.#lifetime = lifetime * 1000
    this.#now = now
  }

  has(sessionKey: string): boolean {
    return this.#now() < (this.#ends.get(sessionKey) ?? 0)
  }

  add(sessionKey: string): void {
    this.#ends.delete(sessionKey)
    if (this.#ends.size >= MAX_KEYS) this.#ends.delete(this.#ends.keys().next().value as string)
    this.#ends.set(sessionKey, this.#now() + this.#lifetime)
  }
}
