/** The same as load.lua, by autocannon: `origin connections seconds paths [file ['once' spare]]`. */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'

interface Client {
  setRequests(requests: object[]): void
  on(event: 'response', listener: () => void): void
}

const autocannon = createRequire(import.meta.url)('autocannon')
const [origin, connectionsText, seconds, paths = '', file, once, spare] = process.argv.slice(2)
const connections = Number(connectionsText)

const cookies = file === undefined ? [undefined] : (await readFile(file, 'utf8')).trim().split('\n')
const requests = cookies.flatMap((cookie) =>
  paths.split(',').map((path) => ({ method: 'GET', path, headers: cookie === undefined ? {} : { cookie } }))
)
const amount = requests.length - Number(spare ?? 0)

/** Every client goes through its list in order: they must not be the same. */
function requestsOf(client: number): object[] {
  if (once === 'once') return requests.filter((_request, index) => index % connections === client)
  return Array.from({ length: 200 }, () => requests[Math.floor(Math.random() * requests.length)] as object)
}

// autocannon's own clock stops at its next tick, up to a second late.
let lastAnswer = 0
let clients = 0
const start = performance.now()
const result = await autocannon({
  url: origin,
  connections,
  ...(once === 'once' ? { amount } : { duration: Number(seconds) }),
  setupClient(client: Client) {
    client.setRequests(requestsOf(clients++))
    client.on('response', () => {
      lastAnswer = performance.now()
    })
  }
})
console.log(
  JSON.stringify({
    requests: result.requests.total,
    seconds: (lastAnswer - start) / 1000,
    errors: result.errors + result.timeouts + result.non2xx,
    p50: result.latency.p50,
    p90: result.latency.p90,
    p99: result.latency.p99
  })
)
