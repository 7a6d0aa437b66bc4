/** What requests leave behind in the old generation of the heap, where it stays until the next full collection. */
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import Fastify from 'fastify'
import sessions from 'fastify-django-sessions'
import t from 'tap'

setFlagsFromString('--expose-gc')
const collect: (options?: { type: 'minor' }) => void = runInNewContext('gc')

/** Bytes. */
function oldGeneration(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'old_space')?.space_used_size ?? Number.NaN
}

t.test('a request that uses its session is gone after the collections of the young generation', async (t) => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(sessions, { secretKey: 'a secret of more than thirty-two characters', engine: 'signed_cookies' })
  app.get('/', async ({ session }) => ({ isEmpty: session.isEmpty }))
  app.get('/none', async () => ({}))

  /** Bytes of the old generation for each request. */
  async function left(url: string): Promise<number> {
    collect()
    const before = oldGeneration()
    for (let request = 1; request <= 1000; request++) {
      await app.inject(url)
      if (request % 20 === 0) collect({ type: 'minor' })
    }
    return (oldGeneration() - before) / 1000
  }

  for (const url of ['/none', '/']) await left(url)
  const none = await left('/none')
  const used = await left('/')
  t.ok(used < none + 400, `${used} bytes, without a session ${none}`)
})
