/** The engine `file`, but for its locks. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { expiryDate } from '../../lib/django/expiry.ts'
import { engineContract } from '../../lib/testing.ts'
import { Browser, createApp } from '../fixtures/app.ts'
import {
  age,
  at,
  COOKIE_AGE,
  createEngine,
  intercept,
  isRoot,
  KEY,
  NOBODY,
  plantLock,
  record,
  START,
  setUp,
  textWith,
  UNAVAILABLE,
  writeFile
} from '../fixtures/file-engine.ts'
import { privateFolder } from '../fixtures/folders.ts'
import { type UnhurriedEngine, unhurried } from '../fixtures/unhurried.ts'

/** Counts the names that are read from folders. */
function countReads(t: Test): () => number {
  const prototype = fs.Dir.prototype
  const original = prototype[Symbol.asyncIterator]
  let reads = 0
  prototype[Symbol.asyncIterator] = async function* () {
    for await (const entry of { [Symbol.asyncIterator]: () => original.call(this) }) {
      reads++
      yield entry
    }
  }
  t.teardown(() => {
    prototype[Symbol.asyncIterator] = original
  })
  return () => reads
}

t.test('the engine contract', async (t) => {
  const folder = privateFolder(t)
  for (const { name, run } of engineContract) await t.test(name, () => run((clock) => createEngine(folder, { clock })))
})

t.test("files are Django's", async (t) => {
  await t.test('the name is cookie name and key, the content the signed text, and only the owner may read it', async (t) => {
    const { engine, folder, sessionKey, file } = await setUp(t)
    const check = (text: string, names: string[]) => {
      t.equal(fs.readFileSync(file, 'latin1'), text)
      t.equal(fs.statSync(file).mode & 0o777, 0o600)
      t.strictSame(fs.readdirSync(folder), names)
    }
    check('first', [`sessionid${sessionKey}`])
    await engine.save(sessionKey, record('second'), 'first')
    check('second', [`sessionid${sessionKey}`])
    await engine.saveLocked(sessionKey, () => record('third'))
    check('third', [`sessionid${sessionKey}`])
    const newKey = String(await engine.cycleKey(sessionKey, at(100), 'third'))
    t.strictSame(fs.readdirSync(folder), [`sessionid${newKey}`])
    t.equal(fs.statSync(join(folder, `sessionid${newKey}`)).mode & 0o777, 0o600)
  })

  const ends: [what: string, text: string, end: Date][] = [
    ['nothing: the age of the cookie after the modification', textWith(undefined), at(COOKIE_AGE)],
    ['0: the age of the cookie', textWith(0), at(COOKIE_AGE)],
    ['null: the age of the cookie', textWith(null), at(COOKIE_AGE)],
    ['seconds: as many after the modification', textWith(10), at(10)],
    ['more seconds than the age of the cookie', textWith(5000), at(5000)],
    ['negative seconds: before it was modified', textWith(-10), at(-10)],
    ['a date: then, whenever it was modified', textWith('2026-02-03T04:05:06.789000+00:00'), new Date('2026-02-03T04:05:06.789Z')],
    ['forged text: the age of the cookie', `${textWith(10)}x`, at(COOKIE_AGE)],
    ['the empty file that Django makes first: the age of the cookie', '', at(COOKIE_AGE)]
  ]
  for (const [what, text, end] of ends) {
    await t.test(`a session ends by ${what}`, async (t) => {
      const { engine, setTime, path } = await setUp(t)
      writeFile(path(`sessionid${KEY}`), text)
      setTime((end.getTime() - START.getTime() - 1) / 1000)
      t.strictSame(await engine.load(KEY), { sessionData: text, expireDate: end })
      setTime((end.getTime() - START.getTime()) / 1000)
      t.equal(await engine.load(KEY), null)
      t.equal(await engine.exists(KEY), true)
      await engine.clearExpired()
      t.equal(await engine.exists(KEY), false, 'what cannot be loaded is removed')
    })
  }

  for (const expiry of [undefined, 0, 10, 5000, '2026-02-03T04:05:06.789000+00:00']) {
    await t.test(`what is saved with the expiry ${expiry} ends as it was told, to the millisecond`, async (t) => {
      const { engine, file, sessionKey, setTime } = await setUp(t)
      setTime(3.21)
      const text = textWith(expiry)
      const expireDate = expiryDate(expiry, COOKIE_AGE, at(3.21))
      await engine.save(sessionKey, record(text, expireDate), null)
      t.strictSame(await engine.load(sessionKey), { sessionData: text, expireDate })
      t.equal(Math.round(fs.statSync(file).mtimeMs), at(3.21).getTime(), 'and for Django, which adds to the modification')
      t.strictSame(await engine.load(await engine.create(record(text, expireDate))), { sessionData: text, expireDate })
    })
  }

  await t.test('touch() moves the modification of the same file, and nothing else', async (t) => {
    const { engine, file, sessionKey } = await setUp(t)
    const { ino } = fs.statSync(file)
    t.equal(await engine.touch(sessionKey, at(COOKIE_AGE + 7.5), 'first'), true)
    t.equal(fs.statSync(file).ino, ino)
    t.equal(Math.round(fs.statSync(file).mtimeMs), at(7.5).getTime())
    t.equal(fs.readFileSync(file, 'latin1'), 'first')
  })

  await t.test('a truncated file reads as what it is, and stays until it is saved', async (t) => {
    const { engine, file, sessionKey } = await setUp(t)
    const text = textWith(undefined)
    writeFile(file, text.slice(0, -5))
    t.match(await engine.load(sessionKey), { sessionData: text.slice(0, -5) })
    t.equal((await engine.save(sessionKey, record(text), text.slice(0, -5))).outcome, 'saved')
    t.equal(fs.readFileSync(file, 'latin1'), text)
  })
})

t.test('bad input', async (t) => {
  await t.test('a key of other characters is unknown, without a look at the disk', async (t) => {
    const { engine, folder } = await setUp(t)
    writeFile(`${folder}.secret`, 'secret')
    t.teardown(() => fs.rmSync(`${folder}.secret`))
    fs.rmSync(folder, { recursive: true })
    await t.rejects(engine.load(KEY), UNAVAILABLE, 'a look at the disk is noticed')
    const keys = [
      '',
      '../x',
      `/../../${folder.split('/').at(-1)}.secret`,
      'a/b/c/d/e',
      'a\\b\\c\\d\\e',
      `${KEY}\0`,
      `${KEY}\n`,
      `${KEY}.lock`
    ]
    for (const key of [...keys, KEY.toUpperCase(), KEY.repeat(2), '..', 'ſſſſſſſſ']) {
      t.equal(await engine.load(key), null)
      t.strictSame(await engine.save(key, record('second'), null), { outcome: 'gone' })
      t.strictSame(await engine.saveLocked(key, () => record('second')), { outcome: 'gone' })
      t.equal(await engine.touch(key, at(200), 'first'), false)
      t.equal(await engine.cycleKey(key, at(200), 'first'), null)
      t.equal(await engine.delete(key), undefined)
      t.equal(await engine.exists(key), false)
    }
  })

  const verbs: [string, (engine: UnhurriedEngine, sessionKey: string) => Promise<unknown>][] = [
    ['load', (engine, key) => engine.load(key)],
    ['create', (engine) => engine.create(record('second'))],
    ['save', (engine, key) => engine.save(key, record('second'), 'first')],
    ['saveLocked', (engine, key) => engine.saveLocked(key, () => record('second'))],
    ['touch', (engine, key) => engine.touch(key, at(200), 'first')],
    ['cycleKey', (engine, key) => engine.cycleKey(key, at(200), 'first')],
    ['delete', (engine, key) => engine.delete(key)],
    ['exists', (engine, key) => engine.exists(key)],
    ['clearExpired', (engine) => engine.clearExpired()]
  ]
  /** Rejects with the code, and with nothing that tells the key. */
  const refuses = async (t: Test, name: string, operation: Promise<unknown>, code: string, sessionKey: string) => {
    const error = await operation.then(
      () => t.fail(`${name} failed`),
      (error) => error
    )
    t.match(error, { ...UNAVAILABLE, statusCode: 503, cause: { code } }, name)
    const all = [error, error.cause, error.cause.cause].flatMap((each) => [each.message, each.stack, JSON.stringify(each)]).join()
    t.notOk(all.includes(sessionKey), `${name} keeps the key to itself`)
  }

  await t.test('a folder that was removed is a failure, not a folder without sessions', async (t) => {
    const { engine, folder, sessionKey } = await setUp(t)
    fs.rmSync(folder, { recursive: true })
    for (const [name, verb] of verbs) await refuses(t, name, verb(engine, sessionKey), 'ENOENT', sessionKey)
  })

  await t.test('a file in the place of the folder is a failure', async (t) => {
    const { engine, folder, sessionKey } = await setUp(t)
    fs.rmSync(folder, { recursive: true })
    fs.writeFileSync(folder, '')
    for (const [name, verb] of verbs) await refuses(t, name, verb(engine, sessionKey), 'ENOTDIR', sessionKey)
  })

  /** Things that other programs put under the name of a session. */
  const special: Record<string, (file: string) => void> = {
    'a directory': (file) => fs.mkdirSync(file),
    'a named pipe': (file) => execFileSync('mkfifo', [file]),
    'a symbolic link to a session': (file) => {
      fs.writeFileSync(`${file}.elsewhere`, 'first')
      fs.symlinkSync(`${file}.elsewhere`, file)
    },
    'a symbolic link to nothing': (file) => fs.symlinkSync(`${file}.nowhere`, file),
    ...(isRoot && {
      "another user's file": (file: string) => {
        fs.writeFileSync(file, 'first')
        fs.chownSync(file, NOBODY, NOBODY)
      }
    })
  }
  for (const [what, make] of Object.entries(special)) {
    await t.test(`${what} under the name of a session is none, and is left alone`, { timeout: 60_000 }, async (t) => {
      const { engine, file, folder, sessionKey, setTime } = await setUp(t)
      fs.rmSync(file)
      make(file)
      const before = fs.readdirSync(folder).map((name) => [name, fs.lstatSync(join(folder, name)).mtimeMs])
      await t.rejects(engine.load(sessionKey), {
        code: 'FST_SESSION_SUSPICIOUS',
        message: 'Session data corrupted: its file is not a regular file, or belongs to another user'
      })
      t.strictSame(await engine.save(sessionKey, record('second'), null), { outcome: 'gone' })
      t.strictSame(await engine.saveLocked(sessionKey, () => record('second')), { outcome: 'gone' })
      t.equal(await engine.touch(sessionKey, at(200), 'first'), false)
      t.equal(await engine.cycleKey(sessionKey, at(200), 'first'), null)
      t.equal(await engine.exists(sessionKey), true, 'the key is taken')
      setTime(100_000)
      t.match(await engine.clearExpired(), { deleted: 0 })
      t.strictSame(
        fs.readdirSync(folder).map((name) => [name, fs.lstatSync(join(folder, name)).mtimeMs]),
        before,
        'not even its time has changed'
      )
      if (what === 'a directory') return
      await engine.delete(sessionKey)
      t.equal(fs.lstatSync(file, { throwIfNoEntry: false }), undefined, 'a logout removes it')
    })
  }

  await t.test('eight named pipes hold up nobody', { timeout: 60_000 }, async (t) => {
    const { engine, sessionKey, path } = await setUp(t)
    const keys = Array.from({ length: 8 }, (_, number) => String(number).repeat(32))
    for (const key of keys) execFileSync('mkfifo', [path(`sessionid${key}`)])
    const loads = keys.map((key) => t.rejects(engine.load(key), { code: 'FST_SESSION_SUSPICIOUS' }))
    t.match(await engine.load(sessionKey), { sessionData: 'first' })
    await Promise.all(loads)
  })

  await t.test('a file that is larger than any session is an error, and costs no memory', async (t) => {
    const { engine, file, path, sessionKey, setTime } = await setUp(t, { maxSize: 300 })
    const longest = 'x'.repeat(500)
    writeFile(path(`sessionid${KEY}`), longest)
    t.match(await engine.load(KEY), { sessionData: longest })
    fs.appendFileSync(path(`sessionid${KEY}`), 'x')
    const tooLarge = { code: 'FST_SESSION_TOO_LARGE' }
    await t.rejects(engine.load(KEY), tooLarge)
    fs.truncateSync(file, 4_000_000_000)
    const before = process.memoryUsage().rss
    for (let count = 0; count < 5; count++) await t.rejects(engine.load(sessionKey), tooLarge)
    await t.rejects(engine.save(sessionKey, record('second'), null), tooLarge)
    fs.utimesSync(file, at(0), at(0))
    setTime(COOKIE_AGE + 1)
    await engine.clearExpired()
    t.equal(fs.existsSync(file), false, 'it ends by its age')
    t.ok(process.memoryUsage().rss - before < 100_000_000)
  })

  await t.test(
    'files of the user who owns the folder are sessions, such as those of Django for a process of root',
    { skip: !isRoot },
    async (t) => {
      const { engine, folder, sessionKey, file } = await setUp(t)
      for (const path of [folder, file]) fs.chownSync(path, NOBODY, NOBODY)
      t.match(await unhurried(createEngine(folder)).load(sessionKey), { sessionData: 'first' })
      await t.rejects(engine.load(sessionKey), { code: 'FST_SESSION_SUSPICIOUS' })
    }
  )

  await t.test('a cookie leads to no file of a site whose cookie has a longer name', async (t) => {
    const { engine, folder, sessionKey, file, setTime } = await setUp(t)
    for (const cookieName of ['session', 'sessioni', 'sess']) {
      const other = unhurried(createEngine(folder, { cookieName }))
      const key = `sessionid${sessionKey}`.slice(cookieName.length)
      t.equal(await other.load(key), null)
      t.strictSame(await other.save(key, record('second'), null), { outcome: 'gone' })
      await other.delete(key)
      setTime(100_000)
      await other.clearExpired()
      setTime(0)
    }
    t.match(await engine.load(sessionKey), { sessionData: 'first' })
    t.equal(fs.existsSync(file), true)
  })

  await t.test('a folder that may only be read is a failure for writers', async (t) => {
    // Root may write everywhere: as root the engine runs as somebody else, in a folder that anybody can reach.
    const folder = fs.mkdtempSync(join(tmpdir(), 'read-only-'))
    const isRoot = process.getuid?.() === 0
    const engine = unhurried(createEngine(folder))
    const sessionKey = await engine.create(record('first'))
    if (isRoot) {
      for (const path of [folder, join(folder, `sessionid${sessionKey}`)]) fs.chownSync(path, NOBODY, NOBODY)
      process.seteuid?.(NOBODY)
    }
    t.teardown(() => {
      if (isRoot) process.seteuid?.(0)
      fs.chmodSync(folder, 0o700)
      fs.rmSync(folder, { recursive: true })
    })
    fs.chmodSync(folder, 0o500)
    t.match(await engine.load(sessionKey), { sessionData: 'first' })
    for (const [name, verb] of verbs.filter(([name]) => !['load', 'exists', 'clearExpired'].includes(name))) {
      await refuses(t, name, verb(engine, sessionKey), 'EACCES', sessionKey)
    }
    if (!isRoot) t.throws(() => createEngine(folder), { code: 'FST_SESSION_INVALID_OPTIONS' })
  })
})

t.test('the folder', async (t) => {
  const isPosix = process.geteuid !== undefined
  const messageOf = async (t: Test, filePath: string) => {
    const { message } = await createApp(t, { engine: 'file', filePath }).then(
      () => t.fail('the folder was accepted') as never,
      (error) => error
    )
    return message
  }

  await t.test('one that is missing, no folder or out of reach is refused, and the error says which', async (t) => {
    const folder = privateFolder(t)
    fs.writeFileSync(join(folder, 'file'), '')
    fs.symlinkSync('loop', join(folder, 'loop'))
    for (const [name, problem] of [
      ['missing', 'does not exist'],
      ['file', 'is not a folder'],
      ['file/inside', 'cannot be used by this process (ENOTDIR)'],
      ['loop', 'cannot be used by this process (ELOOP)']
    ] as const) {
      const path = join(folder, name)
      const message = `fastify-django-sessions: invalid options\n- filePath: expected a folder that exists and can be written to, but ${JSON.stringify(path)} ${problem}. Give filePath a folder of its own, for the user of this process only (mode 0700)`
      t.throws(() => createEngine(path), { code: 'FST_SESSION_INVALID_OPTIONS', message })
      t.equal(await messageOf(t, path), message)
    }
  })

  await t.test('one that other users have access to is refused, and what to do is said', { skip: !isPosix }, async (t) => {
    const folder = privateFolder(t)
    for (const mode of [0o755, 0o701, 0o702, 0o777, 0o1777]) {
      fs.chmodSync(folder, mode)
      t.equal(
        await messageOf(t, folder),
        `fastify-django-sessions: invalid options\n- filePath: expected a folder that other users cannot look into, but ${JSON.stringify(folder)} is a folder of user ${process.geteuid?.()} with mode 0${mode.toString(8)}. The names of its files are session keys. Give filePath a folder of its own, for the user of this process only (mode 0700)`
      )
    }
    t.match(await messageOf(t, tmpdir()), /expected a folder that other users cannot look into, but/)
    for (const mode of [0o700, 0o750, 0o770]) {
      fs.chmodSync(folder, mode)
      await createApp(t, { engine: 'file', filePath: folder })
    }
  })

  await t.test('without the option it is one of the current user, with mode 0700', { skip: !isPosix }, async (t) => {
    const temporary = t.testdir({})
    const before = process.env.TMPDIR
    process.env.TMPDIR = temporary
    t.teardown(() => {
      if (before === undefined) delete process.env.TMPDIR
      else process.env.TMPDIR = before
    })
    const name = `fastify-django-sessions-${process.geteuid?.()}`
    const folder = join(temporary, name)
    const visit = async () => {
      const { app } = await createApp(t, { engine: 'file' }, (app) => {
        app.get('/visit', async (request) => String(request.session.set('a', 1).modified))
      })
      return new Browser(app).get('/visit')
    }
    for (const files of [1, 2]) {
      t.equal((await visit()).statusCode, 200)
      t.strictSame(fs.readdirSync(temporary), [name])
      t.equal(fs.statSync(folder).mode & 0o777, 0o700)
      t.equal(fs.readdirSync(folder).length, files, 'a second start finds it')
    }
    const refused = async (is: string) => {
      await t.rejects(createApp(t, { engine: 'file' }), {
        code: 'FST_SESSION_INVALID_OPTIONS',
        message: `fastify-django-sessions: invalid options\n- filePath: expected a folder of this user only (mode 0700), but ${JSON.stringify(folder)} is ${is}. Give filePath a folder of its own, for the user of this process only (mode 0700)`
      })
    }
    fs.chmodSync(folder, 0o750)
    await refused(`a folder of user ${process.geteuid?.()} with mode 0750`)
    fs.chmodSync(folder, 0o700)
    if (isRoot) {
      fs.chownSync(folder, NOBODY, NOBODY)
      await refused(`a folder of user ${NOBODY} with mode 0700`)
    }
    fs.renameSync(folder, `${folder}-real`)
    fs.symlinkSync(`${folder}-real`, folder)
    await refused('a symbolic link')
    fs.rmSync(folder)
    fs.writeFileSync(folder, '')
    await refused('not a folder')
  })

  await t.test('a special file under the name of a session is a warning without the key', { skip: !isPosix }, async (t) => {
    const filePath = privateFolder(t)
    const { app, logs } = await createApp(t, { engine: 'file', filePath }, (app) => {
      app.get('/read', async (request) => (await request.session.load()).toObject())
    })
    execFileSync('mkfifo', [join(filePath, `sessionid${KEY}`)])
    t.strictSame((await new Browser(app, KEY).get('/read')).json(), {})
    t.strictSame(
      logs.filter(({ code }) => code !== undefined).map(({ level, code, msg }) => ({ level, code, msg })),
      [
        {
          level: 40,
          code: 'FST_SESSION_SUSPICIOUS',
          msg: 'Session data corrupted: its file is not a regular file, or belongs to another user'
        }
      ]
    )
    t.notMatch(JSON.stringify(logs), KEY)
  })
})

t.test('clearExpired()', async (t) => {
  const keyOf = (number: number) => String(number).padStart(32, '0')

  await t.test('streams the names of 10 000 files, batch by batch', { timeout: 120_000 }, async (t) => {
    const { engine, folder, file, setTime } = await setUp(t)
    fs.rmSync(file)
    const count = 10_000
    for (let number = 0; number < count; number++) writeFile(join(folder, `sessionid${keyOf(number)}`), 'x', number % 10 === 0 ? 0 : 500)
    setTime(COOKIE_AGE + 1)
    const reads = countReads(t)
    const readAhead: number[] = []
    const report = await engine.clearExpired({ batchSize: 500, onProgress: ({ batches }) => readAhead.push(reads() - batches * 500) })
    t.match(report, { deleted: 1000, batches: 21 })
    t.strictSame(readAhead.slice(0, 20), new Array(20).fill(0), 'no name is read before the batch before was done')
    t.equal(fs.readdirSync(folder).length, 9000)
  })

  await t.test('stops before the next batch, and says how far it got', async (t) => {
    const { engine, folder, setTime } = await setUp(t)
    for (let number = 0; number < 20; number++) writeFile(join(folder, `sessionid${keyOf(number)}`), 'x')
    setTime(5000)
    const stop = new AbortController()
    const reports: number[] = []
    const onProgress = ({ deleted, batches }: { deleted: number; batches: number }) => {
      reports.push(deleted)
      if (batches === 2) stop.abort()
    }
    t.match(await engine.clearExpired({ batchSize: 5, signal: stop.signal, onProgress }), { deleted: 10, batches: 2 })
    t.strictSame(reports, [5, 10])
    t.equal(fs.readdirSync(folder).length, 11)
  })

  await t.test('leaves sessions for the grace', async (t) => {
    const { engine, setTime } = await setUp(t)
    setTime(159.999)
    t.match(await engine.clearExpired({ grace: 60 }), { deleted: 0, backlogAge: null })
    setTime(160)
    t.match(await engine.clearExpired({ grace: 60 }), { deleted: 1, backlogAge: 60 })
  })

  await t.test('leaves a session that is renewed at the last moment', async (t) => {
    const { engine, sessionKey, file, setTime } = await setUp(t)
    setTime(200)
    let renewed = false
    intercept(t, 'symlink', 1, () => {
      if (renewed) return
      renewed = true
      fs.utimesSync(file, at(200), at(200))
    })
    t.match(await engine.clearExpired(), { deleted: 0 })
    t.equal(renewed, true)
    t.match(await engine.load(sessionKey), { sessionData: 'first' })
  })

  await t.test('leaves what is not its own', async (t) => {
    const { engine, folder, sessionKey, setTime } = await setUp(t)
    await engine.delete(sessionKey)
    const names = [
      `other${KEY}`,
      // A site whose cookie is called sessionidadmin, and what Django's own writers have under way.
      `sessionidadmin${KEY}`,
      `sessionid${KEY}_out_a1b2c3d4`,
      `sessionid${KEY.toUpperCase()}`,
      `.sessionid${KEY}.txt`,
      '.sessionid',
      'sessionid'
    ].sort()
    for (const name of names) writeFile(join(folder, name), 'x')
    setTime(100_000)
    t.match(await engine.clearExpired(), { deleted: 0 })
    t.strictSame(fs.readdirSync(folder).sort(), names)
  })

  await t.test('removes what dead processes left behind, and nothing that live ones use', async (t) => {
    const { engine, folder, sessionKey } = await setUp(t)
    const hidden = ['0123456789abcdef.tmp', 'lock', 'lock.lock'].map((ending) => join(folder, `.sessionid${sessionKey}.${ending}`))
    for (const path of hidden) plantLock(path, 0)
    const all = fs.readdirSync(folder).sort()
    await engine.clearExpired()
    t.strictSame(fs.readdirSync(folder).sort(), all, 'they may be in use')
    for (const path of hidden) age(path, 31)
    await engine.clearExpired()
    t.strictSame(fs.readdirSync(folder), [`sessionid${sessionKey}`])
  })

  await t.test('goes on after a file that fails, and throws in the end', { skip: process.platform === 'win32' }, async (t) => {
    const { engine, folder, setTime } = await setUp(t)
    for (let number = 0; number < 5; number++) writeFile(join(folder, `sessionid${keyOf(number)}`), 'x')
    // A directory in the place of the lock is never removed.
    const lock = join(folder, `.sessionid${keyOf(2)}.lock`)
    fs.mkdirSync(lock)
    age(lock, 31)
    setTime(5000)
    await t.rejects(engine.clearExpired(), { ...UNAVAILABLE, cause: { code: 'EISDIR' } })
    t.strictSame(fs.readdirSync(folder).sort(), [`.sessionid${keyOf(2)}.lock`, `sessionid${keyOf(2)}`])
  })
})

t.test("the option engine: 'file' keeps sessions in filePath", async (t) => {
  const filePath = privateFolder(t)
  const { app } = await createApp(t, { engine: 'file', filePath }, (app) => {
    app.get('/visit', async (request) => {
      const session = await request.session.load()
      session.set('visits', (visits: unknown = 0) => Number(visits) + 1)
      return session.get('visits')
    })
  })
  const browser = new Browser(app)
  t.equal((await browser.get('/visit')).body, '1')
  t.equal((await browser.get('/visit')).body, '2')
  t.strictSame(fs.readdirSync(filePath), [`sessionid${browser.cookie}`])
})
