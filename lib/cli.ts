#!/usr/bin/env node
/** The command `fastify-django-sessions`: what it takes from its process. The rest is in cli/. */
import { main } from './cli/main.js'

/** The first signal stops between two batches, a second one at once. */
function stopSignal(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => controller.abort())
  return controller.signal
}

// The reader of the output has seen enough: `… | head -1`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

const { env, stdin, stdout, stderr } = process
process.exitCode = await main(process.argv.slice(2), { env, stdin, stdout, stderr, clock: () => new Date(), stopSignal })
