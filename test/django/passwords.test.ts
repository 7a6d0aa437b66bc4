/** Passwords as Django stores them: every format, what a failed check costs, and new hashes. */
import crypto from 'node:crypto'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import t, { type Test } from 'tap'
import { checkPassword, createPasswords, hashPassword } from '../../lib/auth/index.ts'
import { root } from '../fixtures/pages.ts'

/** Made by Django 3.2, and those of scrypt by Python's hashlib after Django 5.1's `ScryptPasswordHasher`. */
const ENCODED: [password: string, encoded: string][] = [
  ['correct horse', 'pbkdf2_sha256$260000$seasalt$htpQDYdyy5MZ7bxS8mQJ0sjrWSVIvZJLEHJYe2DWsYQ='],
  ['correct horse', 'pbkdf2_sha256$1000$seasalt$mQnueSakb748zqBAC1tmWVZsZbi2zPGZarEzTGdfmso='],
  ['пароль ✓', 'pbkdf2_sha256$1000$seasalt$kFMyuO7CCxItEtsb58uhJaSbANY9yHkv4JO9ZPGSw1o='],
  ['', 'pbkdf2_sha256$1000$seasalt$XHfRVmyEZRTCcSbqGP00JKv0fRwYHK0ogjPZdSJxCXk='],
  ['correct horse', 'pbkdf2_sha1$1000$CBl7NAIguy7clDKLb7F2JH$suZEesiI2clZMCupBj2zYB/s46Q='],
  ['пароль ✓ 🐎', 'pbkdf2_sha1$1000$ZUUFJETD1EGM6usCELp3wj$EbdddvV3EGvNa/Eiztfc9GZJDVw='],
  ['nul\0byte', 'pbkdf2_sha256$1000$mBsMpJ1W4LrHMPnhqbItSH$MS8A0f99tEbq43dyN48EZdAwMwaOGspoJleew3AX58I='],
  ['x'.repeat(100), 'pbkdf2_sha256$1000$N4HwvwjwPdO39zFaVtQktb$YKiDEkhy7saJRlVOdakpa9GenYN/2oiOwPIlaWSqATU='],
  ['correct horse', 'argon2$argon2id$v=19$m=102400,t=2,p=8$Q1pCWGR5dVRydXJEMjFHbGNydW12WA$ZAf5SY/0swuKuy8ZQrmf0Q'],
  ['пароль ✓ 🐎', 'argon2$argon2id$v=19$m=1024,t=2,p=8$a0VXZXc0bnJIdGVIelBsNXNhZXF0Nw$EJDc4f0YACwNU5G61TRxwg'],
  ['', 'argon2$argon2id$v=19$m=1024,t=2,p=8$UnF3Nk9pOEJqR0NRYmtGRVpLVGhiRQ$TmDfdb6tY7jhKcHkpwnDRg'],
  ['nul\0byte', 'argon2$argon2id$v=19$m=1024,t=2,p=8$NVhFcnJPS1U1dkJUd0ROaEFWY0tqSg$MUr4z2Z1p+Zon+9jT6oOlA'],
  ['correct horse', 'bcrypt_sha256$$2b$04$EXlPvaXuBGl0QZVVUuj54.WzZBCMF5nAOv6LayZi8vEu25Nwvny9K'],
  ['пароль ✓ 🐎', 'bcrypt_sha256$$2b$04$mOffDTsjc4FLBfO48MU32ena4WYHTX3N8aVx9gd9ZPRy8qtdgAO3.'],
  ['nul\0byte', 'bcrypt_sha256$$2b$04$abElHR8H1eXtmHo2zFuqSOBejL6H/IFH.Z5wo24ipLSYSm/dsKi6C'],
  ['x'.repeat(100), 'bcrypt_sha256$$2b$04$fLQxwSucEzAjTn/tDJUfrue0lD1ox1UD9PDCL9YK8h5Nj6Jm3cx1m'],
  ['correct horse', 'bcrypt$$2b$04$oYC/SrmZEzQ91aS7iM9YH.PdZvDRVDAYxrgHog6TULXVJlQL23jpy'],
  ['', 'bcrypt$$2b$04$TMif/CXyV3qXaCqeOTZKkOpg0tspaLQvF7S9i5omy5HOVMcfTqjZm'],
  ['пароль ✓ 🐎', 'bcrypt$$2b$04$Cm9eiOlPeMZqpZYwv4V94e0AEvmGEaNcWyycYAzVr.zgVciDSZUHi'],
  ['correct horse', 'scrypt$16384$seasalt$8$5$nXachnDoZ26UFUF1o3PD3FjYfKq/mD4nZm22d5L0rp+Bi3DZTjkayk+fTW77FlT+2IelThLoihBYgWjZHfwh3Q=='],
  ['correct horse', 'scrypt$16384$seasalt$8$1$WHJS3/wrzhi2rYiZ44/lAqpycQxKRPVfHXMQFxWIaII7u1p+2cO61B97UL7OFL5ZSWsnhfwdgsItJJ6HcrHG4Q==']
]

const ITERATIONS = 2000

/** By functions of its own: otherwise the most expensive field so far would set the work of each failed check. */
const check = (password: string, encoded: string | null | undefined) =>
  createPasswords({ iterations: ITERATIONS }).checkPassword(password, encoded)

t.test('passwords are checked as Django checks them', async (t) => {
  for (const [password, encoded] of ENCODED) t.equal(await check(password, encoded), true, encoded)
})

t.test('a wrong password, another salt or a cut hash does not match', async (t) => {
  for (const [password, encoded] of ENCODED) {
    // bcrypt ignores what comes after 72 bytes, in Django too.
    t.equal(await check(`wrong ${password}`, encoded), false, encoded)
  }
  for (const [password, encoded] of ENCODED.filter(([, encoded]) => encoded.includes('seasalt'))) {
    t.equal(await check(password, encoded.slice(0, -1)), false, 'a shortened hash')
    t.equal(await check(password, encoded.replace('seasalt', 'pepper')), false, 'another salt')
  }
})

t.test('bcrypt alone reads 72 bytes of a password, as in Django, and does not take a NUL for its end', async (t) => {
  const long = 'bcrypt$$2b$04$MgJnUNahZE6MNz04QNK8De5NRQdqbrQJaCcG7Oq/b.IQnACAQUcWO'
  const short = 'bcrypt$$2b$04$oYC/SrmZEzQ91aS7iM9YH.PdZvDRVDAYxrgHog6TULXVJlQL23jpy'
  t.equal(await check('x'.repeat(72), long), true)
  t.equal(await check('x'.repeat(71), long), false)
  for (const password of ['correct horse\0', 'correct horse\0correct horse']) t.equal(await check(password, short), false)
})

t.test('a user who does not exist, or has no usable password, has no right password', async (t) => {
  for (const encoded of [null, undefined, '', '!', '!Fkz3J7pCGpRUbI43NyZVVYxDbXxcqNq9jtpM6mSO']) {
    for (const password of ['secret', '', '!']) t.equal(await check(password, encoded), false)
  }
})

t.test('a password or field that is not a string is an error, and never hashed', async (t) => {
  for (const wrong of [undefined, null, 1, {}, ['secret'], Buffer.from('secret')]) {
    const message = /expected a password that is a string, got (undefined|null|a number|a plain object|an array|an instance of Buffer)$/
    await t.rejects(check(wrong as never, null), { name: 'TypeError', message })
    await t.rejects(createPasswords({ iterations: ITERATIONS }).hashPassword(wrong as never), { name: 'TypeError', message })
  }
  await t.rejects(check('secret', Buffer.from('x') as never), {
    name: 'TypeError',
    message: /expected a password field, or null,/
  })
})

// --- other formats -------------------------------------------------------------------------

const UNSUPPORTED: Record<string, RegExp> = {
  md5$salt$hash: /: md5 is not supported\. Let Django rehash it at the next login, or reset the password$/,
  sha1$salt$hash: /: sha1 is not supported/,
  crypt$$hash: /: crypt is not supported/,
  pbkdf2_sha256$salt$hash: /: expected Django's format of pbkdf2_sha256$/,
  pbkdf2_sha256$1e3$salt$hash: /: expected Django's format of pbkdf2_sha256$/,
  'pbkdf2_sha1$-1$salt$hash': /: expected Django's format of pbkdf2_sha1$/,
  scrypt$16384$salt$hash: /: expected Django's format of scrypt$/,
  bcrypt_sha256$$2b$12$abcdefghijklmnopqrstuv: /: expected Django's format of bcrypt_sha256$/,
  'argon2$argon2id$v=19$m=1024,t=2$salt$hash': /: expected Django's format of argon2$/,
  'argon2$argon2id$v=19$m=1024,t=2,p=8$!!$!!': /: expected Django's format of argon2$/,
  '$2b$12$M.dBgOKAiQ51qCbkgLT1qeeVOudV756Es04RHLwvHmhzRv5ihOxNy': /: it is a bcrypt hash .*: store it as 'bcrypt\$' \+ hash$/,
  '$2a$12$M.dBgOKAiQ51qCbkgLT1qeeVOudV756Es04RHLwvHmhzRv5ihOxNy': /: store it as 'bcrypt\$' \+ hash$/,
  '$2y$12$M.dBgOKAiQ51qCbkgLT1qeeVOudV756Es04RHLwvHmhzRv5ihOxNy': /: store it as 'bcrypt\$' \+ hash$/,
  '$argon2id$v=19$m=1024,t=2,p=8$UnF3Nk9pOEJqR0NRYmtGRVpLVGhiRQ$TmDfdb6tY7jhKcHkpwnDRg': /: store it as 'argon2' \+ hash$/,
  $6$salt$sha512crypt: /: expected one of the formats pbkdf2_sha256, .* got another$/,
  constructor$1$salt$hash: /: expected one of the formats pbkdf2_sha256, .* got another$/,
  pa$$word: /: expected one of the formats pbkdf2_sha256, .* got another$/,
  '5f4dcc3b5aa765d61d8327deb882cf99': /: expected one of the formats pbkdf2_sha256, .* got another$/
}

t.test('a field in another format is an error that says what to do, and holds nothing of the field', async (t) => {
  for (const [encoded, message] of Object.entries(UNSUPPORTED)) {
    await t.rejects(check('secret', encoded), { code: 'FST_SESSION_UNSUPPORTED_PASSWORD', message }, encoded)
  }
})

t.test('a field cannot ask for work without end', async (t) => {
  const fields = [
    ...['0', '20000001', '99999999999999', '9'.repeat(400)].map((iterations) => `pbkdf2_sha256$${iterations}$salt$hash`),
    'pbkdf2_sha1$20000001$salt$hash',
    // A work factor that is no power of two, and more work or memory than allowed.
    ...['0$salt$8$1', '1$salt$8$1', '3$salt$8$1', '16384$salt$0$1', '16384$salt$8$0', '16384$salt$8$153', '65536$salt$1$1'].map(
      (costs) => `scrypt$${costs}$hash`
    ),
    ...['1048576$salt$8$1', '16384$salt$200$1', `${'9'.repeat(400)}$salt$8$1`].map((costs) => `scrypt$${costs}$hash`),
    ...['m=262145,t=1,p=1', 'm=1024,t=13022,p=1', 'm=0,t=1,p=1', `m=${'9'.repeat(400)},t=1,p=1`].map(
      (costs) => `argon2$argon2id$v=19$${costs}$UnF3Nk9pOEJqR0NRYmtGRVpLVGhiRQ$TmDfdb6tY7jhKcHkpwnDRg`
    ),
    ...['00', '03', '17', '31', '99'].map((rounds) => `bcrypt$$2b$${rounds}$M.dBgOKAiQ51qCbkgLT1qeeVOudV756Es04RHLwvHmhzRv5ihOxNy`)
  ]
  for (const encoded of fields) {
    const expected = { code: 'FST_SESSION_UNSUPPORTED_PASSWORD', message: /: its work factor or memory is out of bounds$/ }
    await t.rejects(check('secret', encoded), expected, encoded.slice(0, 60))
  }
})

/** The built package where only its required dependency is installed. */
function copyWithoutPackages(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'passwords-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  mkdirSync(join(folder, 'node_modules/@fastify'), { recursive: true })
  symlinkSync(join(root, 'node_modules/@fastify/error'), join(folder, 'node_modules/@fastify/error'))
  cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  return folder
}

t.test('a bundle can be made without the packages for Argon2 and bcrypt', async (t) => {
  const entryPoints = [join(copyWithoutPackages(t), 'dist/django/passwords.js')]
  const { errors, warnings } = await build({ entryPoints, bundle: true, write: false, platform: 'node', format: 'esm', logLevel: 'silent' })
  t.strictSame([errors, warnings], [[], []])
})

t.test('Argon2 and bcrypt without their packages are an error that names the package to install', async (t) => {
  const folder = copyWithoutPackages(t)
  const built: typeof import('../../lib/django/passwords.ts') = await import(pathToFileURL(join(folder, 'dist/django/passwords.js')).href)
  const { checkPassword } = built.createPasswords({ iterations: ITERATIONS })
  const iterations = countIterations(t)
  for (const [encoded, name] of [
    ['argon2$argon2id$v=19$m=1024,t=2,p=8$UnF3Nk9pOEJqR0NRYmtGRVpLVGhiRQ$TmDfdb6tY7jhKcHkpwnDRg', '@node-rs/argon2'],
    ['bcrypt$$2b$04$TMif/CXyV3qXaCqeOTZKkOpg0tspaLQvF7S9i5omy5HOVMcfTqjZm', 'bcryptjs'],
    ['bcrypt_sha256$$2b$04$F.ZDB7V7H6Xnb5ZmwZQMYugqvJcEqtWghXCWq5kLZpcBav5hhusxa', 'bcryptjs']
  ] as const) {
    const message = `A password field cannot be checked: it needs the package ${name}, which could not be loaded: npm install ${name}`
    await t.rejects(checkPassword('', encoded), { code: 'FST_SESSION_UNSUPPORTED_PASSWORD', message })
  }
  t.strictSame(
    iterations().map(([count]) => count),
    [ITERATIONS, ITERATIONS, ITERATIONS],
    'they cost as much as any failed check'
  )
  t.equal(await checkPassword('correct horse', ENCODED[1]?.[1]), true, 'other formats need no package')
})

// --- what a failed check costs -----------------------------------------------------------------

/** Each later call of PBKDF2: its iterations and digest. */
function countIterations(t: Test): () => [iterations: number, digest: string][] {
  const calls = t.capture(crypto, 'pbkdf2', crypto.pbkdf2)
  syncBuiltinESMExports()
  t.teardown(() => syncBuiltinESMExports())
  return () => calls().map(({ args }) => [args[2], args[4]])
}

const HARDENED: Record<string, [encoded: string | null, calls: [number, string][]]> = {
  'no such user': [null, [[5000, 'sha256']]],
  'no password': ['', [[5000, 'sha256']]],
  'an unusable password': ['!unusable', [[5000, 'sha256']]],
  'fewer iterations': [
    'pbkdf2_sha256$1000$seasalt$mQnueSakb748zqBAC1tmWVZsZbi2zPGZarEzTGdfmso=',
    [
      [1000, 'sha256'],
      [4000, 'sha256']
    ]
  ],
  'the same number of iterations': ['pbkdf2_sha256$5000$seasalt$hash', [[5000, 'sha256']]],
  'SHA-1': [
    'pbkdf2_sha1$1000$seasalt$hash',
    [
      [1000, 'sha1'],
      [4000, 'sha256']
    ]
  ],
  scrypt: ['scrypt$256$seasalt$8$1$hash', [[2952, 'sha256']]],
  argon2: ['argon2$argon2id$v=19$m=1024,t=2,p=8$UnF3Nk9pOEJqR0NRYmtGRVpLVGhiRQ$TmDfdb6tY7jhKcHkpwnDRg', [[1928, 'sha256']]],
  bcrypt: ['bcrypt$$2b$04$TMif/CXyV3qXaCqeOTZKkOpg0tspaLQvF7S9i5omy5HOVMcfTqjZm', [[1560, 'sha256']]],
  bcrypt_sha256: ['bcrypt_sha256$$2b$04$F.ZDB7V7H6Xnb5ZmwZQMYugqvJcEqtWghXCWq5kLZpcBav5hhusxa', [[1560, 'sha256']]]
}

t.test('every failed check does the same work, so that response times do not tell which users exist', async (t) => {
  const { checkPassword } = createPasswords({ iterations: 5000 })
  for (const [name, [encoded, expected]] of Object.entries(HARDENED)) {
    t.test(name, async (t) => {
      const iterations = countIterations(t)
      t.equal(await checkPassword('wrong', encoded), false)
      t.strictSame(iterations(), expected)
    })
  }
  t.test('formats that are not supported, before the error', async (t) => {
    for (const encoded of [
      ...Object.keys(UNSUPPORTED),
      'pbkdf2_sha256$20000001$salt$hash',
      'scrypt$3$salt$8$1$hash',
      'scrypt$65536$s$1$1$h'
    ]) {
      const iterations = countIterations(t)
      await t.rejects(checkPassword('wrong', encoded), { code: 'FST_SESSION_UNSUPPORTED_PASSWORD' })
      t.strictSame(iterations(), [[5000, 'sha256']], encoded)
    }
  })
})

t.test('the most expensive field that was seen sets the work of all failed checks after it', async (t) => {
  const { checkPassword } = createPasswords({ iterations: 1000 })
  const { checkPassword: another } = createPasswords({ iterations: 1000 })
  t.equal(await checkPassword('wrong', 'pbkdf2_sha256$3000$seasalt$hash'), false)
  const iterations = countIterations(t)
  await checkPassword('wrong', null)
  await checkPassword('wrong', 'pbkdf2_sha256$1000$seasalt$hash')
  await another('wrong', null)
  t.strictSame(iterations(), [
    [3000, 'sha256'],
    [1000, 'sha256'],
    [2000, 'sha256'],
    [1000, 'sha256']
  ])
})

t.test('a correct password costs its own iterations only', async (t) => {
  const { checkPassword } = createPasswords({ iterations: 5000 })
  const iterations = countIterations(t)
  t.equal(await checkPassword('correct horse', ENCODED[1]?.[1]), true)
  t.strictSame(iterations(), [[1000, 'sha256']])
})

t.test("the defaults are Django 6.1's", async (t) => {
  const iterations = countIterations(t)
  t.equal(await checkPassword('wrong', null), false)
  t.strictSame(iterations(), [[1_500_000, 'sha256']])
  t.match(await hashPassword('secret'), /^pbkdf2_sha256\$1500000\$/)
})

// --- new hashes ----------------------------------------------------------------------------------

t.test('a new hash has the format of Django and a salt of its own, and is checked again', async (t) => {
  const { checkPassword, hashPassword, mustUpdate } = createPasswords({ iterations: 1000 })
  const salts = new Set<string>()
  for (const password of ['correct horse', '', 'пароль ✓ 🐎', 'nul\0byte', 'x'.repeat(100_000)]) {
    const encoded = await hashPassword(password)
    const [, salt] = /^pbkdf2_sha256\$1000\$([a-zA-Z0-9]{22})\$[A-Za-z0-9+/]{43}=$/.exec(encoded) ?? []
    salts.add(salt as string)
    t.equal(await checkPassword(password, encoded), true)
    t.equal(await checkPassword(`${password}x`, encoded), false)
    t.equal(mustUpdate(encoded), false)
  }
  t.equal(salts.size, 5)
  t.notOk(salts.has(undefined as never))
})

t.test('a field is to be updated when its algorithm, iterations or salt are below those of new ones', async (t) => {
  const { mustUpdate } = createPasswords({ iterations: 1000 })
  const salt = 'a'.repeat(22)
  const expected: [encoded: string | null | undefined, boolean][] = [
    [`pbkdf2_sha256$1000$${salt}$hash`, false],
    [`pbkdf2_sha256$1800000$${salt}$hash`, false],
    [`pbkdf2_sha256$999$${salt}$hash`, true],
    [`pbkdf2_sha256$1000$${salt.slice(1)}$hash`, true],
    ['pbkdf2_sha256$salt$hash', true],
    [`pbkdf2_sha1$1000$${salt}$hash`, true],
    ['scrypt$16384$seasalt$8$5$hash', true],
    ['argon2$argon2id$v=19$m=102400,t=2,p=8$Q1pCWGR5dVRydXJEMjFHbGNydW12WA$ZAf5SY/0swuKuy8ZQrmf0Q', true],
    ['bcrypt_sha256$$2b$12$M.dBgOKAiQ51qCbkgLT1qeeVOudV756Es04RHLwvHmhzRv5ihOxNy', true],
    ['md5$salt$hash', true],
    ['!unusable', false],
    ['', false],
    [null, false],
    [undefined, false]
  ]
  for (const [encoded, update] of expected) t.equal(mustUpdate(encoded), update, String(encoded))
})

t.test('iterations that are none are refused', async (t) => {
  for (const iterations of [0, -1, 1.5, Number.NaN, 20_000_001, '1000', null]) {
    t.throws(() => createPasswords({ iterations: iterations as number }), { code: 'FST_SESSION_INVALID_OPTIONS' })
  }
  for (const options of [{ iters: 5 }, 5, null]) {
    t.throws(() => createPasswords(options as never), { message: /createPasswords: expected nothing or an object with iterations/ })
  }
})
