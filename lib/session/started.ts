/** Starts work that may throw instead of rejecting, or return what is no promise. */
export function started<T>(work: () => Promise<T>): Promise<T> {
  try {
    return Promise.resolve(work())
  } catch (error) {
    return Promise.reject(error)
  }
}
