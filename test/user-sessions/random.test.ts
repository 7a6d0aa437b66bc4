/** Random programs of several browsers and of a Django beside us: once nothing is under way, every list is the truth. */
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import type { Knex } from 'knex'
import t from 'tap'
import { Browser } from '../fixtures/app.ts'
import { databases, missing } from '../fixtures/databases.ts'
import { djangoLogin } from '../fixtures/login-site.ts'
import { createSite, openUserSessions, type Site, sessionsOf, TABLE } from '../fixtures/user-sessions.ts'

const USERS = ['1', '2'] as const
const BROWSERS = 4

type Step = [browser: number, operation: keyof typeof operations, user: number]

/** What a browser does; what it asks for has been answered when it resolves. */
const operations = {
  login: (browser: Browser, _site: Site, user: string) => browser.get(`/login/${user}`),
  logout: (browser: Browser) => browser.get('/logout'),
  rotate: (browser: Browser) => browser.get('/rotate'),
  visit: (browser: Browser) => browser.get('/who'),
  list: (browser: Browser) => browser.get('/sessions'),
  endOthers: (browser: Browser) => browser.get('/end-others'),
  async endFirst(browser: Browser) {
    const sessions = (await browser.get('/sessions')).json()
    if (Array.isArray(sessions) && sessions.length > 0) await browser.get(`/end/${sessions[0].id}`)
  },
  cleanup: (_browser: Browser, { app }: Site) => app.sessions.clearExpired(),
  /** As Django does it: a new row, and the former one is deleted. */
  async djangoLogin(browser: Browser, { app, users }: Site, user: string) {
    const former = app.sessions.open(browser.cookie)
    const session = app.sessions.open().update(djangoLogin(user, users.get(user)?.password as string))
    await session.save()
    browser.cookie = session.sessionKey
    await former.flush()
  },
  /** Without allauth: the row goes, and the entry stays. */
  async djangoLogout(browser: Browser, { app }: Site) {
    if (browser.cookie !== null) await app.sessions.model.query().where({ session_key: browser.cookie }).del()
  },
  /** The entry is lost, as when a write of it fails. */
  async lose(browser: Browser, site: Site) {
    if (browser.cookie !== null) await (site as Site & { knex: Knex }).knex(TABLE).where({ session_key: browser.cookie }).del()
  }
}

const names = Object.keys(operations) as (keyof typeof operations)[]
const step = fc.tuple(fc.nat(BROWSERS - 1), fc.constantFrom(...names), fc.nat(USERS.length - 1))
/** Rounds, whose steps run at the same time. */
const programs = fc.array(fc.array(step, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 8 })

for (const name of databases) {
  t.test(`lists are the truth at every quiet moment, on ${name}`, { skip: missing(name) }, async (t) => {
    const knex = await openUserSessions(t, name)
    const site = Object.assign(await createSite(t, knex), { knex })
    const run = async (program: Step[][]) => {
      const browsers = Array.from({ length: BROWSERS }, () => new Browser(site.app))
      for (const round of program) {
        await Promise.all(round.map(([at, operation, user]) => operations[operation](browsers[at] as Browser, site, USERS[user] as string)))
        await agree(browsers)
      }
      for (const browser of browsers) await browser.get('/logout')
      await Promise.all(USERS.map((user) => site.app.sessions.ofUser(user).endAll()))
    }
    /** Each browser's list has the sessions of all browsers of its user, its own one marked. */
    const agree = async (browsers: Browser[]) => {
      const signedIn = new Map<string, string>()
      for (const browser of browsers) {
        const { id } = (await browser.get('/who')).json()
        // A list enters the session that it is asked from.
        await sessionsOf(browser)
        if (id !== null) signedIn.set(browser.cookie as string, id)
      }
      await setImmediate()
      for (const browser of browsers) {
        const user = signedIn.get(browser.cookie ?? '')
        const listed = await sessionsOf(browser)
        const keys = await knex(TABLE)
          .whereIn(
            'id',
            listed.map(({ id }) => id)
          )
          .pluck('session_key')
        const expected = [...signedIn].flatMap(([key, id]) => (id === user ? [key] : []))
        const missed = expected.filter((key) => !keys.includes(key))
        if (missed.length > 0) throw new Error(`${missed.length} of ${expected.length} sessions are not listed`)
        const current = listed.filter(({ isCurrent }) => isCurrent).length
        if (current !== (user === undefined ? 0 : 1)) throw new Error(`${current} of the sessions are the current one`)
        const owners = await Promise.all(keys.map((key: string) => site.app.sessions.model.find(key)))
        if (owners.some((row) => row?.decoded()._auth_user_id !== user)) throw new Error('a session of somebody else is listed')
      }
    }
    await fc.assert(fc.asyncProperty(programs, run), { numRuns: name === 'sqlite' ? 60 : 25, seed: 20 })
    t.pass('no program found a list that was wrong')
  })
}
