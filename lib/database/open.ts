/** Creates a Knex instance, or throws an error that names the remedy. */
import type { Knex } from 'knex'
import { dialectOf } from './dialects.js'

/** The clients of the instances that were made here. */
const ours = new WeakSet<object>()

export const isOurs = (client: object) => ours.has(client)

/**
 * Creates a Knex instance from a configuration. It connects at the first use.
 *
 * @param connectTimeout the time limit of connecting, in seconds, unless the configuration has one
 * @throws Error if the package of Knex or of the driver is missing, or the connection URL cannot be decoded
 */
export async function createKnex(config: Knex.Config, connectTimeout: number): Promise<Knex> {
  try {
    const { default: create } = await import('knex')
    // This package reports each failure as an error. Knex would print it as well, with a stack.
    const knex = create({ ...config, log: { warn() {}, error() {}, ...config.log } })
    boundConnects(knex, connectTimeout)
    ours.add(knex.client)
    return withPlainHost(knex)
  } catch (error) {
    throw explained(error as Error)
  }
}

/** Sets the time limit of connecting. Otherwise a server that accepts a connection but never answers would keep the socket for ever. */
function boundConnects({ client }: Knex, seconds: number): void {
  const option = dialectOf(client.driverName)?.connectTimeout
  if (!option) return
  // Changed in place, because a copy would lack the password, which Knex makes non-enumerable. A function may also
  // return a URL, which is not parsed yet and left alone.
  const bound = (settings: unknown) => {
    if (typeof settings === 'object' && settings !== null) Object.assign(settings, { [option]: Math.ceil(seconds * 1000), ...settings })
    return settings
  }
  bound(client.connectionSettings)
  const { connectionConfigProvider: provider } = client
  if (provider) client.connectionConfigProvider = async () => bound(await provider())
}

/** Removes the brackets around an IPv6 address in a URL (RFC 3986, section 3.2.2), which Knex passes on to the name resolver. */
function withPlainHost(knex: Knex): Knex {
  const settings: { host?: unknown } = Object(knex.client.connectionSettings)
  if (typeof settings.host === 'string') settings.host = settings.host.replace(/^\[(.*)\]$/, '$1')
  return knex
}

function explained(error: Error): Error {
  const [, missing] = /(?:^Cannot find (?:package|module) '(?=knex')|npm install )([^\s']+)/.exec(error.message) ?? []
  if (missing !== undefined) return new Error(`the package ${missing} is missing: npm install ${missing}`)
  if (error instanceof URIError) return new Error('the connection URL cannot be decoded: write %25 for a % in its user or password')
  return error
}
