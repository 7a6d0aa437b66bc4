/** https for the site: a certificate that nobody knows, and a proxy that ends TLS. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request as send } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

export const certificate = createCertificate()

function createCertificate(): { key: Buffer; cert: Buffer } {
  const folder = mkdtempSync(join(tmpdir(), 'sessions-certificate-'))
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']
  try {
    execFileSync('openssl', ['req', '-x509', ...curve, '-nodes', '-subj', '/CN=site.test', '-keyout', key, '-out', cert], { stdio: 'pipe' })
    return { key: readFileSync(key), cert: readFileSync(cert) }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Speaks https, and http to the site behind it, as a reverse proxy does. Returns its URL. */
export async function startTlsProxy(t: Test, siteUrl: string): Promise<string> {
  const proxy = createServer(certificate, (request, response) => {
    const { method = 'GET', url, headers } = request
    const behind = send(`${siteUrl}${url}`, { method, headers: { ...headers, 'x-forwarded-proto': 'https' } }, (answer) => {
      response.writeHead(answer.statusCode as number, answer.headers)
      answer.pipe(response)
    })
    request.pipe(behind)
  })
  t.teardown(() => {
    proxy.close()
    proxy.closeAllConnections()
  })
  await once(proxy.listen(0, '127.0.0.1'), 'listening')
  return `https://127.0.0.1:${(proxy.address() as AddressInfo).port}`
}
