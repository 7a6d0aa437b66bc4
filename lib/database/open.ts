/** Makes a Knex instance, or says what has to be done first. */
import type { Knex } from 'knex'

/**
 * A Knex instance of a configuration. Its connections are made when they are first used.
 *
 * @throws Error when the package of the driver is missing, or the connection URL cannot be decoded
 */
export async function createKnex(config: Knex.Config): Promise<Knex> {
  const { default: create } = await import('knex')
  try {
    // Each failure is an error of ours, with its reason. Knex would print it as well, with a stack.
    return withPlainHost(create({ ...config, log: { warn() {}, error() {}, ...config.log } }))
  } catch (error) {
    throw explained(error as Error)
  }
}

/** A URL puts an IPv6 address into brackets (RFC 3986, section 3.2.2), and Knex passes them on to the resolver of names. */
function withPlainHost(knex: Knex): Knex {
  const settings: { host?: unknown } = Object(knex.client.connectionSettings)
  if (typeof settings.host === 'string') settings.host = settings.host.replace(/^\[(.*)\]$/, '$1')
  return knex
}

function explained(error: Error): Error {
  const [, driver] = /npm install (\S+)/.exec(error.message) ?? []
  if (driver !== undefined) return new Error(`the package ${driver} is missing: npm install ${driver}`)
  if (error instanceof URIError) return new Error('the connection URL cannot be decoded: write %25 for a % in its user or password')
  return error
}
