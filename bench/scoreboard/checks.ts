/**
 * The checks, each one question that is answered from outside: by requests, the rows of
 * the table, and the statements on the wire. They know no package.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { type Bench, type Browser, REPLY_LIMIT, type Reply, type Variant } from './rig.ts'

export interface Answer {
  /** Null: a fact that is neither good nor bad. */
  passed: boolean | null
  fact: string
}

export interface Check {
  name: string
  /** What has to hold, or what is counted. */
  title: string
  section: string
  /** How the site has to be set up for it. */
  variant?: Variant
  /** Does not apply where sessions are in the cookie. */
  needsTable?: true
  /** Null where it does not apply. */
  run(bench: Bench): Promise<Answer | null>
}

const answer = (passed: boolean | null, whenPassed: string, otherwise = whenPassed): Answer => ({
  passed,
  fact: passed === false ? otherwise : whenPassed
})

const list = (items: string[]) => (items.length === 0 ? 'none' : items.join(', '))
/** Milliseconds that a reply is waited for which should not come. */
const NO_REPLY_LIMIT = 1000

const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? '' : 's'}`
const hasCookie = ({ headers }: Reply) => headers['set-cookie'] !== undefined
const isWrite = (kind: string) => ['INSERT', 'UPDATE', 'UPSERT', 'DELETE'].includes(kind)

async function read(browser: Browser, name: string): Promise<unknown> {
  return (await browser.get(`/read?name=${name}`)).value
}

/** Whether this browser, or one that has kept the cookie from before, is somebody. A cookie that is the data is no help against copies: another check asks that. */
async function isSignedIn({ contender }: Bench, ...browsers: Browser[]): Promise<boolean> {
  const asked = contender.stateless ? browsers.slice(0, 1) : browsers
  for (const browser of asked) if ((await read(browser, 'user')) !== null) return true
  return false
}

/** Begins a request that waits in its handler, runs `meanwhile`, and lets the request end. */
async function during(
  bench: Bench,
  { browser, path }: { browser: Browser; path: string },
  meanwhile: () => Promise<unknown>
): Promise<Reply> {
  const gate = bench.gate()
  const reply = browser.get(`${path}${path.includes('?') ? '&' : '?'}gate=${gate.url}`)
  await gate.reached()
  await meanwhile()
  gate.open()
  return reply
}

async function logoutDuring(bench: Bench, path: string): Promise<Answer> {
  const browser = await bench.visitor()
  const before = browser.copy()
  const reply = await during(bench, { browser, path }, () => browser.get('/logout'))
  const passed = !(await isSignedIn(bench, browser, before))
  return answer(passed, `stays signed out, ${reply.text}`, 'signed in again')
}

const together: Check[] = [
  {
    name: 'two writers',
    title: 'Two requests write different keys: both are kept',
    section: 'Requests at the same time',
    async run(bench) {
      const browser = await bench.visitor()
      await during(bench, { browser, path: '/set?name=first&value=1' }, () => browser.get('/set?name=second&value=1'))
      const lost = []
      for (const name of ['first', 'second']) if ((await read(browser, name)) === null) lost.push(name)
      return answer(lost.length === 0, 'both kept', 'one is lost')
    }
  },
  {
    name: 'reader and writer',
    title: 'A slow request that only reads undoes no write',
    section: 'Requests at the same time',
    async run(bench) {
      const browser = await bench.visitor()
      await during(bench, { browser, path: '/read?name=user' }, () => browser.get('/set?name=mark&value=1'))
      return answer((await read(browser, 'mark')) !== null, 'kept', 'the write is lost')
    }
  },
  {
    name: 'counter',
    title: 'Of twenty requests that count at once all are counted',
    section: 'Requests at the same time',
    async run(bench) {
      const browser = await bench.visitor()
      const gate = bench.gate()
      const replies = Array.from({ length: 20 }, () => browser.get(`/count?gate=${gate.url}`))
      await gate.reached(20)
      gate.open()
      const acknowledged = (await Promise.all(replies)).filter(({ status }) => status === 200).length
      const count = Number(await read(browser, 'count'))
      // One that a slow database was not waited for may count all the same.
      return answer(count >= acknowledged && count <= replies.length, 'exact', `${count} of ${acknowledged}`)
    }
  },
  {
    name: 'logout and writer',
    title: 'A logout stays one, though a slow request writes after it',
    section: 'Requests at the same time',
    run: (bench) => logoutDuring(bench, '/set?name=mark&value=1')
  },
  {
    name: 'logout and reader',
    title: '… though a slow request reads',
    section: 'Requests at the same time',
    run: (bench) => logoutDuring(bench, '/read?name=user')
  },
  {
    name: 'logout and touch',
    title: '… though a slow request renews the session',
    section: 'Requests at the same time',
    variant: 'renewing',
    run: (bench) => logoutDuring(bench, '/read?name=user')
  },
  {
    name: 'rotation and writer',
    title: 'The old id is dead after a rotation, though a slow request writes after it',
    section: 'Requests at the same time',
    needsTable: true,
    async run(bench) {
      const browser = await bench.visitor()
      const slow = browser.copy()
      const before = browser.copy()
      await during(bench, { browser: slow, path: '/set?name=mark&value=1' }, () => browser.get('/rotate'))
      return answer(!(await isSignedIn(bench, before)), 'dead', 'alive')
    }
  }
]

const identity: Check[] = [
  {
    name: 'old id',
    title: 'A rotation makes a new id, and the old one is dead',
    section: 'Who is who',
    needsTable: true,
    async run(bench) {
      const browser = await bench.visitor()
      const before = browser.copy()
      await browser.get('/rotate')
      const isNew = before.cookie !== browser.cookie && (await isSignedIn(bench, browser))
      return answer(isNew && !(await isSignedIn(bench, before)), 'dead', isNew ? 'alive' : 'no new id')
    }
  },
  {
    name: 'copied cookie',
    title: 'A copied cookie is worth nothing after the logout',
    section: 'Who is who',
    async run(bench) {
      const browser = await bench.visitor()
      const copy = browser.copy()
      await browser.get('/logout')
      return answer((await read(copy, 'user')) === null, 'signed out', 'signed in')
    }
  },
  {
    name: 'cookie cleared',
    title: 'A logout deletes the cookie',
    section: 'Who is who',
    async run(bench) {
      const browser = await bench.visitor()
      await browser.get('/logout')
      return answer(browser.cookie === null, 'deleted', 'the browser keeps it')
    }
  },
  {
    name: 'unknown id',
    title: 'An id that the server does not know is not adopted',
    section: 'Who is who',
    needsTable: true,
    async run(bench) {
      const browser = await bench.visitor()
      const { cookie } = browser
      await bench.query(`DELETE FROM "${bench.table.name}"`)
      await browser.get('/set?name=user&value="eve"')
      return answer(browser.cookie !== cookie, 'a new id', 'adopted')
    }
  },
  {
    name: 'forged cookie',
    title: 'A forged cookie makes no row and is given no other',
    section: 'Who is who',
    async run(bench) {
      const { cookie } = await bench.visitor()
      const name = cookie?.slice(0, cookie.indexOf('='))
      const forger = bench.browser(`${name}=${'0123456789abcdef'.repeat(2)}`)
      return untouched(bench, forger, '/read?name=user')
    }
  },
  {
    name: 'not found',
    title: 'A 404 makes no row and sends no cookie',
    section: 'Who is who',
    run: (bench) => untouched(bench, bench.browser(), '/not-found')
  },
  {
    name: 'secure over http',
    title: 'A secure cookie over plain http is warned of',
    section: 'Who is who',
    variant: 'secure',
    async run(bench) {
      const reply = await bench.browser().get('/set?name=user&value="ada"')
      const output = bench.output
      const fact = `${hasCookie(reply) ? 'a cookie that browsers drop' : 'no cookie'}, ${output === '' ? 'no word' : 'a warning'}`
      return answer(output !== '', fact)
    }
  }
]

/** Whether a request leaves neither a row nor a cookie. */
async function untouched(bench: Bench, browser: Browser, path: string): Promise<Answer> {
  const count = () => (bench.contender.table === null ? 0 : bench.rows())
  const before = await count()
  const reply = await browser.get(path)
  const rows = (await count()) - before
  const given = browser.cookie !== null && hasCookie(reply)
  const facts = [...(rows > 0 ? [plural(rows, 'row')] : []), ...(given ? ['a cookie'] : [])]
  return answer(facts.length === 0, 'nothing', facts.join(', '))
}

function statementCheck(name: string, title: string, run: (bench: Bench, browser: Browser) => Promise<unknown>): Check {
  return {
    name: `statements: ${name}`,
    title,
    section: 'Statements',
    needsTable: true,
    async run(bench) {
      const browser = await bench.visitor()
      return answer(null, list(await bench.statements(() => run(bench, browser))))
    }
  }
}

const statements: Check[] = [
  statementCheck('no cookie', 'No cookie, session not used', (bench) => bench.browser().get('/untouched')),
  statementCheck('not used', 'With a cookie, session not used', (_bench, browser) => browser.get('/untouched')),
  statementCheck('read', 'Read', (_bench, browser) => browser.get('/read?name=user')),
  statementCheck('change', 'Change', (_bench, browser) => browser.get('/set?name=mark&value=1')),
  statementCheck('new', 'New session', (bench) => bench.browser().get('/set?name=mark&value=1')),
  statementCheck('logout', 'Logout', (_bench, browser) => browser.get('/logout')),
  statementCheck('rotate', 'Rotation', (_bench, browser) => browser.get('/rotate'))
]

const replies: Check[] = [
  {
    name: 'redirect',
    title: 'Who follows a redirect at once sees what was written',
    section: 'The reply',
    async run(bench) {
      const browser = await bench.visitor()
      const write = bench.wire.hold(/^\s*(update|insert|with)/i)
      let hasHeaders = false
      const redirected = browser.open('/redirect').finally(() => {
        hasHeaders = true
      })
      // Either the headers come while nothing is stored, or they do not come.
      await Promise.race([write.reached, redirected])
      await Promise.race([redirected, pause(NO_REPLY_LIMIT)])
      if (!hasHeaders) write.open()
      const { location, whole } = await redirected
      const { value } = await browser.get(location)
      write.open()
      await whole
      return answer(value === 'set', 'new data', 'old data')
    }
  },
  {
    name: 'send twice',
    title: '`reply.send()` without `return` in an async handler',
    section: 'The reply',
    async run(bench) {
      const browser = await bench.visitor()
      const reply = await browser.get('/send-twice')
      if (reply.status === 404) return null
      const stored = (await read(browser, 'mark')) === 'set'
      return answer(reply.status === 200 && stored, `${reply.text}, saved`, `${reply.text}, ${stored ? 'saved' : 'not saved'}`)
    }
  },
  {
    name: 'send and throw',
    title: 'An error after `reply.send()`',
    section: 'The reply',
    async run(bench) {
      const reply = await (await bench.visitor()).get('/send-then-throw')
      return answer(reply.status > 0, reply.text)
    }
  },
  {
    name: 'raw reply',
    title: 'A reply that the handler writes itself (`hijack`) has the new session',
    section: 'The reply',
    async run(bench) {
      const browser = bench.browser()
      await browser.get('/raw')
      const isGiven = browser.cookie !== null
      const isStored = (await read(browser, 'mark')) === 'set'
      return answer(isGiven && isStored, 'saved, and its cookie sent', isGiven ? 'not saved' : 'no cookie')
    }
  },
  {
    name: 'status 500',
    title: 'A request that ends with 500: its changes',
    section: 'The reply',
    async run(bench) {
      const browser = await bench.visitor()
      await browser.get('/set-and-fail')
      return answer(null, (await read(browser, 'mark')) === null ? 'dropped' : 'kept')
    }
  },
  {
    name: 'vary',
    title: 'What was read from a session has `Vary: Cookie`',
    section: 'The reply',
    async run(bench) {
      const { headers } = await (await bench.visitor()).get('/read?name=user')
      return answer(/cookie/i.test(headers.vary ?? ''), 'yes', 'no')
    }
  }
]

const data: Check[] = [
  {
    name: '__proto__',
    title: '`__proto__` is a key like any other',
    section: 'Data',
    run: (bench) => roundTrip(bench, ['__proto__'])
  },
  {
    name: 'names of methods',
    title: '`save`, `cookie`, `constructor` are keys like any other',
    section: 'Data',
    run: (bench) => roundTrip(bench, ['save', 'cookie', 'constructor'])
  },
  {
    name: 'nested change',
    title: 'A change inside a value is saved, as it comes',
    section: 'Data',
    async run(bench) {
      const browser = await bench.visitor()
      await browser.get('/set?name=items&value=[]')
      await browser.get('/push?name=items')
      const items = (await read(browser, 'items')) as unknown[]
      return answer(items.length === 1, 'saved', 'lost')
    }
  },
  {
    name: 'six kilobytes',
    title: 'Six kilobytes of data are kept, or refused',
    section: 'Data',
    async run(bench) {
      const browser = await bench.visitor()
      const reply = await browser.get(`/set?name=mark&value="${'x'.repeat(6000)}"`)
      const stored = (await read(browser, 'mark')) !== null
      return answer(stored || reply.status >= 400, stored ? 'kept' : reply.text, `${reply.text}, and lost`)
    }
  },
  {
    name: 'cleanup',
    title: '25,000 expired rows are removed in batches',
    section: 'Data',
    needsTable: true,
    async run(bench) {
      await expire(bench, 25_000)
      const kinds = await bench.statements(() => bench.browser().get('/clean-up', 60_000))
      const deletes = kinds.filter((kind) => kind === 'DELETE').length
      const left = await bench.rows(`${bench.table.key} LIKE 'expired-%'`)
      return answer(deletes > 1 && left === 0, 'in batches', left > 0 ? `${left} are left` : 'by one statement')
    }
  }
]

/** Sets each name on a session of its own, and reads it back. */
async function roundTrip(bench: Bench, names: string[]): Promise<Answer> {
  const problems: string[] = []
  for (const name of names) {
    const browser = await bench.visitor()
    const reply = await browser.get(`/set?name=${name}&value="text"`)
    const found = await browser.get(`/read?name=${name}`)
    const user = await browser.get('/read?name=user')
    const problem = [reply, found, user].find(({ status }) => status !== 200)
    if (problem !== undefined) problems.push(`\`${name}\`: ${problem.text}`)
    else if (found.value !== 'text' || user.value !== 'ada') problems.push(`\`${name}\`: lost`)
  }
  return answer(problems.length === 0, 'kept', problems.join(', '))
}

/** Copies a session, as one that has expired. */
async function expire(bench: Bench, count: number): Promise<void> {
  await bench.visitor()
  const { name, key, data, expires } = bench.table
  await bench.query(
    `INSERT INTO "${name}" (${key}, ${data}, ${expires})
    SELECT 'expired-' || number, copied.${data}, now() - interval '1 day'
    FROM generate_series(1, ${count}) AS number, (SELECT ${data} FROM "${name}" LIMIT 1) AS copied`
  )
}

/** Lets a request begin, and end while the table is away. */
async function endWithoutTable(bench: Bench, browser: Browser, path: string): Promise<Reply> {
  const gate = bench.gate()
  const reply = browser.get(`${path}${path.includes('?') ? '&' : '?'}gate=${gate.url}`)
  await gate.reached()
  return bench.withoutTable(() => {
    gate.open()
    return reply
  })
}

/** An error is told, and no cookie is given that leads nowhere. */
const isHonestError = (reply: Reply) => reply.status >= 500 && !hasCookie(reply)
const errorFact = (reply: Reply) => `${reply.text}${hasCookie(reply) ? ' with a cookie' : ''}`

const faults: Check[] = [
  {
    name: 'error at load',
    title: 'An error of the database while loading is one of the reply',
    section: 'The database fails',
    needsTable: true,
    async run(bench) {
      const browser = await bench.visitor()
      const reply = await bench.withoutTable(() => browser.get('/read?name=user'))
      return answer(isHonestError(reply), errorFact(reply))
    }
  },
  {
    name: 'error at save',
    title: '… while saving',
    section: 'The database fails',
    needsTable: true,
    async run(bench) {
      const browser = await bench.visitor()
      let reply: Reply | undefined
      const kinds = await bench.statements(async () => {
        reply = await endWithoutTable(bench, browser, '/set?name=mark&value=1')
      })
      return answer(isHonestError(reply as Reply), `${errorFact(reply as Reply)}, ${plural(kinds.filter(isWrite).length, 'attempt')}`)
    }
  },
  {
    name: 'error at logout',
    title: '… while signing out',
    section: 'The database fails',
    needsTable: true,
    async run(bench) {
      const reply = await endWithoutTable(bench, await bench.visitor(), '/logout')
      return answer(reply.status >= 500, reply.text)
    }
  },
  {
    name: 'error at touch',
    title: 'An error while renewing a session ends in a reply',
    section: 'The database fails',
    variant: 'renewing',
    needsTable: true,
    async run(bench) {
      const reply = await endWithoutTable(bench, await bench.visitor(), '/read?name=user')
      return answer(reply.status > 0, reply.text)
    }
  },
  {
    name: 'not used while away',
    title: 'A route that does not use the session works without the database',
    section: 'The database fails',
    needsTable: true,
    async run(bench) {
      const browser = await bench.visitor()
      const paths = [bench.browser(), browser]
      const [without, withCookie] = (await bench.withoutTable(() => Promise.all(paths.map((each) => each.get('/untouched'))))) as [
        Reply,
        Reply
      ]
      const fact = `${without.text} without a cookie, ${withCookie.text} with one`
      return answer(without.status === 200 && withCookie.status === 200, fact)
    }
  },
  {
    name: 'cut at save',
    title: 'The connection is cut as a save is sent: nothing is lost behind a 200',
    section: 'The database fails',
    needsTable: true,
    async run(bench) {
      const browser = await bench.visitor()
      bench.wire.cut(/^\s*(update|insert|with)/i)
      const reply = await browser.get('/set?name=mark&value=1')
      const stored = (await read(browser, 'mark')) !== null
      return answer(stored || reply.status >= 500, `${errorFact(reply)}, ${stored ? 'saved' : 'not saved'}`)
    }
  },
  {
    name: 'cut at rotation',
    title: 'The connection is cut in a rotation: one id is alive',
    section: 'The database fails',
    needsTable: true,
    async run(bench) {
      const before = await bench.rows()
      const browser = await bench.visitor()
      bench.wire.cut(/^\s*(update|delete)/i)
      await browser.get('/rotate')
      const alive = (await bench.rows()) - before
      return answer(alive === 1, `${alive} alive`)
    }
  },
  {
    name: 'away at the start',
    title: 'The database comes after the server: then sessions work',
    section: 'The database fails',
    variant: 'cut off',
    needsTable: true,
    async run(bench) {
      const first = await bench.browser().get('/set?name=user&value="ada"')
      bench.wire.refuses = false
      const works = (await read(await bench.visitor(), 'user')) === 'ada'
      return answer(works, `${first.text}, then they work`, `${first.text}, then they do not work`)
    }
  },
  {
    name: 'silence',
    title: `The database does not answer: the reply ends within ${REPLY_LIMIT / 1000} seconds`,
    section: 'The database fails',
    needsTable: true,
    async run(bench) {
      const browser = await bench.visitor()
      bench.wire.hold(/^\s*select/i)
      const started = performance.now()
      const reply = await browser.get('/read?name=user')
      const seconds = Math.floor((performance.now() - started) / 1000)
      return answer(reply.status >= 500, `${reply.text} after ${seconds} s`, reply.text)
    }
  }
]

export const checks: readonly Check[] = [...together, ...identity, ...statements, ...replies, ...data, ...faults]
