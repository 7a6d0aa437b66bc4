/** The secret key of a command. It comes from the environment or a file, because other users of the machine can see command lines. */
import { readFile } from 'node:fs/promises'
import type { Options } from './arguments.js'
import { UsageError } from './errors.js'

export interface Secrets {
  secretKey: string
  secretKeyFallbacks: string[]
}

/**
 * Reads the secret key and the former keys. Null if there are none.
 *
 * @throws UsageError when the file cannot be read, or is empty
 */
export async function readSecrets(options: Options, env: NodeJS.ProcessEnv): Promise<Secrets | null> {
  const file = options['secret-key-file']
  if (file !== undefined) return secretsOf(await readLines(file))
  if (!env.SECRET_KEY) return null
  return secretsOf([env.SECRET_KEY, ...(env.SECRET_KEY_FALLBACKS ?? '').split(',').map((text) => text.trim())])
}

/** Reads the keys for a command or an option that cannot do without them. @throws UsageError also when there are none */
export async function requireSecrets(options: Options, env: NodeJS.ProcessEnv, name: string): Promise<Secrets> {
  const secrets = await readSecrets(options, env)
  if (secrets !== null) return secrets
  throw new UsageError(`${name} needs the secret key: set SECRET_KEY in the environment, or --secret-key-file FILE`)
}

function secretsOf([secretKey, ...fallbacks]: string[]): Secrets {
  return { secretKey: secretKey as string, secretKeyFallbacks: fallbacks.filter((text) => text !== '') }
}

async function readLines(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch(({ code }: NodeJS.ErrnoException) => {
    throw new UsageError(`--secret-key-file: the file cannot be read (${code})`)
  })
  const lines = text.split(/\r?\n/)
  if (lines[0] !== '') return lines
  throw new UsageError('--secret-key-file: expected a secret key in the first line, got nothing')
}
