/** The names of other session plugins: their methods and callbacks, in terms of ours. */
import { callbackify } from 'node:util'
import { SessionNotLoaded } from '../errors.js'
import { protectProperties, Session } from './session.js'

/** Called as those of Node.js are: with the error if there is one. */
export type SessionCallback = (error: Error | null) => void

const ALL_NAMES = 'all names of the data'

/**
 * A session with the methods that code for @fastify/session, @fastify/secure-session and
 * @fastify/passport calls. They behave as they do there.
 */
export class CompatSession extends Session {
  /**
   * With `keepSessionInfo` @fastify/passport gives `Object.keys(session)` to `regenerate`, where the
   * properties of a session are its data. Here they are this one.
   */
  readonly [ALL_NAMES] = true

  /** As in `Session`, also with a callback. @throws SessionInterrupted, StoreUnavailable, StoreRefused, SessionTooLarge */
  override save(): Promise<void>
  /** The same for code that has no promises. @param callback gets the error, or null */
  override save(callback: SessionCallback): void
  override save(callback?: SessionCallback): Promise<void> | void {
    return answer(() => super.save(), 'save', callback)
  }

  /** `flush()` */
  destroy(): Promise<void>
  destroy(callback: SessionCallback): void
  destroy(callback?: SessionCallback): Promise<void> | void {
    return answer(() => this.flush(), 'destroy', callback)
  }

  /**
   * `flush()`, with the values of some keys kept in the new session. It needs no await: what is set
   * next is in the new session.
   *
   * @param keep names of keys, which needs `load()`; `Object.keys(session)` keeps all
   * @throws SessionNotLoaded
   */
  regenerate(keep?: readonly string[]): Promise<void>
  regenerate(callback: SessionCallback): void
  regenerate(keep: readonly string[], callback: SessionCallback): void
  regenerate(keep: readonly string[] | SessionCallback = [], callback?: SessionCallback): Promise<void> | void {
    if (typeof keep === 'function') return this.regenerate([], keep)
    if (!Array.isArray(keep))
      throw new TypeError(`session.regenerate(keep): expected an array of names, got a value of type ${typeof keep}`)
    if (keep.length > 0 && !this.isLoaded) throw new SessionNotLoaded('regenerate')
    const isKept = ([name]: [string, unknown]) => keep.includes(name) || keep.includes(ALL_NAMES)
    const kept = keep.length === 0 ? [] : this.entries().filter(isKept)
    const regenerate = () => {
      const flushed = this.flush()
      this.update(Object.fromEntries(kept))
      return flushed
    }
    return answer(regenerate, 'regenerate', callback)
  }

  /** `toObject()` */
  data(): Record<string, unknown> {
    return this.toObject()
  }

  /**
   * `setExpiry(maxAge)`. The other attributes of a cookie are those of the plugin's options.
   *
   * @param options `maxAge` in seconds
   * @throws TypeError
   */
  options({ maxAge }: { maxAge?: number }): void {
    if (maxAge !== undefined) this.setExpiry(maxAge)
  }
}

protectProperties(CompatSession.prototype)

function answer(work: () => Promise<void>, method: string, callback: SessionCallback | undefined): Promise<void> | void {
  if (callback === undefined) return work()
  if (typeof callback === 'function') return callbackify(work)(callback)
  throw new TypeError(`session.${method}(callback): expected a function, got a value of type ${typeof callback}`)
}
