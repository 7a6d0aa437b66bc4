/** Suggestions for unknown options. Many of these are options of other session plugins. */

/** The names of options here, by their names in other plugins and in Django in lower case. */
const COUNTERPARTS: Record<string, string> = {
  secret: 'secretKey',
  secrets: 'secretKeyFallbacks',
  store: 'knex, or engine',
  age: 'cookieAge',
  maxage: 'cookieAge',
  ttl: 'cookieAge',
  rolling: 'saveEveryRequest',
  table: 'tableName',
  timeout: 'storeTimeout',
  prunesessioninterval: 'clearExpired',
  cleanupinterval: 'clearExpired',
  cookiename: 'cookie.name',
  name: 'cookie.name',
  domain: 'cookie.domain',
  path: 'cookie.path',
  secure: 'cookie.secure',
  httponly: 'cookie.httpOnly',
  samesite: 'cookie.sameSite',
  partitioned: 'cookie.partitioned',
  priority: 'cookie.priority'
}

/** Options of other plugins that are not needed here, with the reason. */
const NOT_NEEDED: Record<string, string> = {
  resave: 'a session that did not change is never saved',
  saveuninitialized: 'an empty session is never stored, and no cookie is sent for it',
  genid: "session keys are made as Django's",
  idgenerator: "session keys are made as Django's",
  cookieprefix: "the cookie is the session key alone, as Django's",
  proxy: 'set the option trustProxy of Fastify',
  unset: 'await session.flush() ends a session'
}

/** The end of the sentence that reports an unknown option. */
export function suggestion(name: string, known: string[], prefix: string): string {
  const plain = name
    .toLowerCase()
    .replace(/[^a-z]/g, '')
    .replace(/^session(?:cookie)?/, '')
  const match = known.find((candidate) => [plain, name.toLowerCase()].includes(candidate.toLowerCase()))
  if (match !== undefined) return `, did you mean ${prefix}${match}?`
  if (Object.hasOwn(COUNTERPARTS, plain)) return `, did you mean ${COUNTERPARTS[plain]}?`
  if (Object.hasOwn(NOT_NEEDED, plain)) return `, and not needed: ${NOT_NEEDED[plain]}`
  return `; there are ${known.join(', ')}`
}
