/** A real Django under gunicorn, where Python has both: `sync` with two workers, or `gthread` with one of eight threads. */
import { spawn } from 'node:child_process'
import { setTimeout as pause } from 'node:timers/promises'
import { exitOnSignal, port } from './serve.ts'

const [python = 'python3', kind] = process.argv.slice(2)
const workers = kind === 'sync' ? ['--workers', '2'] : ['--worker-class', 'gthread', '--threads', '8', '--keep-alive', '60']
const child = spawn(
  python,
  ['-m', 'gunicorn', 'django_site:application', '--bind', `127.0.0.1:${port}`, '--log-level', 'warning', '--preload', ...workers],
  { cwd: import.meta.dirname, stdio: 'inherit' }
)
child.once('exit', (status) => process.exit(status ?? 1))
exitOnSignal(async () => {
  child.removeAllListeners('exit')
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await ended
})
while (!(await fetch(`http://127.0.0.1:${port}/untouched`).catch(() => null))?.ok) await pause(100)
process.send?.({ ready: true })
