/** Makes a Knex instance, or says what has to be done first. */
import type { Knex } from 'knex'
import { dialectOf } from './dialects.js'

/**
 * A Knex instance of a configuration. Its connections are made when they are first used.
 *
 * @param connectTimeout seconds for making a connection, where the configuration does not say
 * @throws Error when the package of the driver is missing, or the connection URL cannot be decoded
 */
export async function createKnex(config: Knex.Config, connectTimeout: number): Promise<Knex> {
  const { default: create } = await import('knex')
  try {
    // Each failure is an error of ours, with its reason. Knex would print it as well, with a stack.
    const knex = create({ ...config, log: { warn() {}, error() {}, ...config.log } })
    boundConnects(knex, connectTimeout)
    return withPlainHost(knex)
  } catch (error) {
    throw explained(error as Error)
  }
}

/** A server that accepts a connection and never answers would otherwise keep the socket for ever. */
function boundConnects({ client }: Knex, seconds: number): void {
  const option = dialectOf(client.driverName)?.connectTimeout
  if (!option) return
  // In place, since Knex hides the password from a copy. A URL is not parsed yet where a function returns it.
  const bound = (settings: unknown) => {
    if (typeof settings === 'object' && settings !== null) Object.assign(settings, { [option]: Math.ceil(seconds * 1000), ...settings })
    return settings
  }
  bound(client.connectionSettings)
  const { connectionConfigProvider: provider } = client
  if (provider) client.connectionConfigProvider = async () => bound(await provider())
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
