/** An engine on the table of sessions, which can delete many of them in a few statements. */
import type { Deadline, Engine } from '../contract.js'

export interface BulkEngine extends Engine {
  /** Deletes sessions as `delete` does, all or none of them. Returns the keys of those that were there. */
  deleteAll(sessionKeys: readonly string[], deadline: Deadline): Promise<string[]>
}
