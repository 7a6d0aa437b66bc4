#!/usr/bin/env node
/** The executable `fastify-django-sessions`: connects the command line in cli/ to its process. */
import { main } from './cli/main.js'

/** Aborted by the first signal, which stops a cleanup between two batches. The second signal ends the process. */
function stopSignal(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => controller.abort())
  return controller.signal
}

// EPIPE: the reader has closed the pipe, as `… | head -1` does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

const { env, stdin, stdout, stderr } = process
process.exitCode = await main(process.argv.slice(2), { env, stdin, stdout, stderr, clock: () => new Date(), stopSignal })
