/** The result of a check. */
export interface Finding {
  /** `warn`: it works, at a cost. `fail`: it does not work. */
  status: 'ok' | 'warn' | 'fail'
  check: string
  /** The problem and its solution. */
  message: string
}

export const finding = (status: Finding['status'], check: string, message: string): Finding => ({ status, check, message })
