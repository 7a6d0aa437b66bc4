/** Engines of the application: what is wrong with one is said when the plugin is registered. */
import t from 'tap'
import type { EngineClass } from '../../lib/index.ts'
import { createApp } from '../fixtures/app.ts'

const NAMES = ['load', 'create', 'save', 'saveLocked', 'touch', 'cycleKey', 'delete', 'exists', 'clearExpired']
const invalid = (problem: string) => ({
  code: 'FST_SESSION_INVALID_OPTIONS',
  message: `fastify-django-sessions: invalid options\n- ${problem}`
})

class Whole {
  load() {}
  create() {}
  save() {}
  saveLocked() {}
  touch() {}
  cycleKey() {}
  delete() {}
  exists() {}
  clearExpired() {}
}

const register = (t: Parameters<typeof createApp>[0], engine: unknown) => createApp(t, { engine: engine as EngineClass })

t.test('a class without the methods of an engine is refused at the start, and they are named', async (t) => {
  await t.rejects(
    register(t, class {}),
    invalid(`engine: expected the methods ${NAMES.join(', ')}, got an object without ${NAMES.join(', ')}`)
  )
  class Partial extends Whole {
    override load = undefined as never
    override touch = 'touch' as never
  }
  await t.rejects(register(t, Partial), invalid(`engine: expected the methods ${NAMES.join(', ')}, got an object without load, touch`))
})

t.test('methods of a class may be inherited, or functions of each instance', async (t) => {
  class Inherits extends Whole {}
  await register(t, Inherits)
  class Fields {
    constructor() {
      for (const name of NAMES) Object.assign(this, { [name]: () => null })
    }
  }
  await register(t, Fields)
})

t.test('what the constructor throws is thrown by the registration', async (t) => {
  class Throws extends Whole {
    constructor() {
      super()
      throw new RangeError('no bucket was given')
    }
  }
  await t.rejects(register(t, Throws), { name: 'RangeError', message: 'no bucket was given' })
})

t.test('a salt that would not be used, and members of other types, are refused', async (t) => {
  class OwnSalt extends Whole {
    salt = 'a salt'
  }
  await t.rejects(
    register(t, OwnSalt),
    invalid('engine.salt: expected the same as the static salt of the class, which is read before an engine is made')
  )
  class StaticSalt extends OwnSalt {
    static salt = 'a salt'
  }
  await register(t, StaticSalt)
  class WrongTypes extends Whole {
    salt = 1
    keyIsData = 'yes'
  }
  await t.rejects(register(t, WrongTypes), {
    message: /- engine\.salt: expected a string that is not empty, got 1\n- engine\.keyIsData: expected true or false, got a /
  })
})

t.test('what is no class is refused as such', async (t) => {
  for (const engine of [() => new Whole(), async () => new Whole(), Whole.prototype.load]) {
    await t.rejects(register(t, engine), {
      code: 'FST_SESSION_INVALID_OPTIONS',
      message: /- engine: expected "db", .*, or an engine as an object or a class, got /
    })
  }
})

t.test('an engine that never saves is an error after a few attempts, and the server goes on', async (t) => {
  const stored = { text: '', expireDate: new Date('2999-01-01') }
  const calls: string[] = []
  class Stubborn extends Whole {
    override load = async () => stored
    override save = async () => ({ outcome: 'changed', stored: calls.push('save') && stored })
    override saveLocked = async () => ({ outcome: 'changed', stored: calls.push('saveLocked') && stored })
  }
  const { app } = await createApp(t, { engine: Stubborn as unknown as EngineClass }, (app) => {
    app.get('/', async (request) => String(request.session.set('a', 1).modified))
    app.get('/health', async () => 'ok')
  })
  const response = await app.inject({ url: '/', cookies: { sessionid: 'abcdefgh' } })
  t.match(response.json(), { statusCode: 500, message: /^Expected saveLocked\(\) of the engine to answer .*, got "changed"$/ })
  t.strictSame(calls, ['save', 'save', 'save', 'saveLocked'])
  t.equal((await app.inject('/health')).body, 'ok')
})
