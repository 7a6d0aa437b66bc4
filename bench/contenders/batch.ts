/** Calls of one turn of the event loop, carried out together. */
interface Call<Item, Result> {
  item: Item
  resolve: (result: Result) => void
  reject: (error: unknown) => void
}

/** @param together returns a result for each item, in their order */
export function batch<Item, Result>(together: (items: Item[]) => readonly Result[] | Promise<readonly Result[]>) {
  let waiting: Call<Item, Result>[] = []

  async function send(): Promise<void> {
    const calls = waiting
    waiting = []
    try {
      const results = await together(calls.map(({ item }) => item))
      for (let index = 0; index < calls.length; index++) calls[index]?.resolve(results[index] as Result)
    } catch (error) {
      for (const { reject } of calls) reject(error)
    }
  }

  return (item: Item) =>
    new Promise<Result>((resolve, reject) => {
      if (waiting.push({ item, resolve, reject }) === 1) setImmediate(send)
    })
}
