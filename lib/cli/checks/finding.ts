/** What a check says. */
export interface Finding {
  /** `warn` works but costs something, `fail` does not work. */
  status: 'ok' | 'warn' | 'fail'
  check: string
  /** What was found, and what to do. */
  message: string
}

export const finding = (status: Finding['status'], check: string, message: string): Finding => ({ status, check, message })
