/** Recipe: an engine of your own, as a class and as an object. The engine of the documentation is run by readme.test.ts. */
import t from 'tap'
import { MemoryCache } from '../../lib/caches/memory.ts'
import { CacheEngine } from '../../lib/engines/cache.ts'
import { SessionCache } from '../../lib/engines/session-cache.ts'
import { Browser, createApp } from '../fixtures/app.ts'

let made = 0

/** Stands for any engine that is none of the names. */
class OwnEngine extends CacheEngine {
  constructor({ clock }: { clock: () => Date }) {
    super(new SessionCache({ cache: new MemoryCache({ clock }), prefix: '', clock }))
    made++
  }
}

let now = new Date('2026-01-02T03:04:05.678Z')
const clock = () => now

for (const [name, engine] of Object.entries({ class: OwnEngine, object: new OwnEngine({ clock }) })) {
  t.test(`sessions live in an engine that was given as ${name}, without a database`, async (t) => {
    const before = made
    const { app } = await createApp(t, { engine, clock, cookieAge: 60 }, (app) => {
      app.get('/', async (request) => {
        const session = await request.session.load()
        session.set('visits', (visits = 0) => Number(visits) + 1)
        return { visits: session.get('visits') }
      })
    })
    t.equal(made - before, name === 'class' ? 1 : 0, 'one for each registration of a class')
    const browser = new Browser(app)
    await browser.get('/')
    t.strictSame((await browser.get('/')).json(), { visits: 2 })
    now = new Date(now.getTime() + 60_000)
    t.strictSame((await browser.get('/')).json(), { visits: 1 }, "the engine's clock is that of the option")
  })
}
