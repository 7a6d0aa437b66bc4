import { mysqlCells } from './mysql-cells.ts'
import type { Cell } from './observe.ts'
import { postgresCells } from './postgres-cells.ts'
import { proxyCells } from './proxy-cells.ts'
import { redisCells } from './redis-cells.ts'

/** All failovers. */
export const cells: readonly Cell[] = [...postgresCells, ...proxyCells, ...mysqlCells, ...redisCells]
