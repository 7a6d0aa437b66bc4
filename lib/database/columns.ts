/** Checks the values of the option `columns`, and binds them so that all databases store the same. */
import { kindOf } from '../kind-of.js'
import type { Binding, Dialect } from './dialect.js'

/**
 * A value of an additional column. `undefined` is stored as NULL, and a Date in UTC as
 * `expire_date` is. JSON belongs in a string: `JSON.stringify(value)`.
 */
export type ColumnValue = string | number | bigint | boolean | Date | Uint8Array | null | undefined

/** Values of additional columns of a table that extends Django's, by the name of the column. */
export type Columns = Record<string, ColumnValue>

const EXPECTED = 'a string, a finite number, a bigint of 64 bits, a boolean, a valid Date, binary data, null or undefined'

/** @throws TypeError if the option returned anything but an object, such as a promise */
export function checkColumns(returned: unknown): Columns {
  if (Object.prototype.toString.call(returned) === '[object Object]') return returned as Columns
  // The promise of an async function may reject, and nothing else handles it.
  if (returned instanceof Promise) returned.catch(() => {})
  throw new TypeError(`Expected the option columns to return an object of column values, got ${kindOf(returned)}`)
}

/** @throws TypeError that names the column, if a value cannot be stored */
export function bindColumns(columns: Columns, dialect: Dialect): Binding[] {
  return Object.entries(columns).map(([name, value]) => {
    const binding = bind(value, dialect)
    if (binding === undefined)
      throw new TypeError(`Cannot store the value of the column "${name}": expected ${EXPECTED}, got ${received(value)}`)
    return binding
  })
}

/** Returns undefined for a value that cannot be stored. */
function bind(value: ColumnValue, dialect: Dialect): Binding | undefined {
  switch (typeof value) {
    case 'undefined':
      return null
    case 'string':
      return value
    case 'number':
      return Number.isFinite(value) ? value : undefined
    case 'bigint':
      return BigInt.asIntN(64, value) === value ? dialect.bindBigInt(value) : undefined
    case 'boolean':
      return dialect.bindBoolean(value)
    default:
      return bindObject(value, dialect)
  }
}

function bindObject(value: Date | Uint8Array | null, dialect: Dialect): Binding | undefined {
  if (value === null) return null
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? undefined : dialect.bindDate(value)
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : undefined
}

function received(value: unknown): string {
  if (value instanceof Date) return 'an invalid Date'
  return typeof value === 'number' ? String(value) : kindOf(value)
}
