/** Whether a cleanup run goes page by page, in the order in which rows lie on the disk, which is faster if many have expired. */
import type { Connections } from './connections.js'
import type { PageStatements } from './dialect.js'

/** The number of sessions that a batch of a cleanup run deleted, and the milliseconds for which they were locked. */
export interface DeletedBatch {
  readonly deleted: number
  readonly milliseconds: number
}

/** The rows of a smaller table are in memory, so that the order in which they are deleted does not matter. */
const FEWEST_PAGES = 1000

const SAMPLED_PAGES = 100

/** With fewer expired sessions in a page, most pages would be read in vain. */
const EXPIRED_PER_PAGE = 0.5

/** The number of the table's pages, if it is best to delete what ended before the date page by page. Otherwise 0. */
export async function pagesToSweep(connections: Connections, table: string, before: string): Promise<number> {
  const { pages } = connections.dialect
  if (pages === null) return 0
  const count = await countPages(connections, table)
  if (count < FEWEST_PAGES) return 0
  const [sample] = await connections.rows(...pages.sampleExpired(table, (SAMPLED_PAGES / count) * 100, before))
  return Number(sample?.total) >= SAMPLED_PAGES * EXPIRED_PER_PAGE ? count : 0
}

export async function countPages(connections: Connections, table: string): Promise<number> {
  const { count } = connections.dialect.pages as PageStatements
  const [row] = await connections.rows(count, [table])
  return Number(row?.pages)
}
