/**
 * The limit that the goals for instructions name: written by hand, one statement (PostgreSQL) or one
 * transaction (SQLite) for all requests of a turn, a codec that deflates nothing, no features.
 */
import { serveByHand } from './by-hand.ts'
import { createCodec } from './django-codec.ts'
import { database, secret } from './serve.ts'

const { openRows } = database.startsWith('postgres') ? await import('./batched-postgres.ts') : await import('./batched-sqlite.ts')
await serveByHand(await openRows(), createCodec(secret, Number.POSITIVE_INFINITY))
