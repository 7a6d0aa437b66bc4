/** The result of a check. */
export interface Finding {
  /** `warn` works but costs something, `fail` does not work. */
  status: 'ok' | 'warn' | 'fail'
  check: string
  /** The finding, and the way out. */
  message: string
}

export const finding = (status: Finding['status'], check: string, message: string): Finding => ({ status, check, message })
