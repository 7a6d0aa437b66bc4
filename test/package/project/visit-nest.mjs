/** Visits the application on NestJS of docs/recipes.md. */
import assert from 'node:assert/strict'
import { app } from './nest.js'

const seen = []
app.use((request, _reply, next) => {
  seen.push(request.session)
  next()
})
await app.init()
await app.getHttpAdapter().getInstance().ready()

let cookies = {}
/** A request of the visitor: the status, the body, and what became of the cookie. */
async function visit(method, url) {
  const response = await app.inject({ method, url, cookies })
  const [cookie] = response.cookies
  if (cookie !== undefined) cookies = { sessionid: cookie.value }
  return [response.statusCode, response.json(), cookie?.value.length]
}

const refused = { message: 'Forbidden resource', error: 'Forbidden', statusCode: 403 }
assert.deepEqual(await visit('GET', '/'), [200, { visits: 1 }, 32])
assert.deepEqual(await visit('GET', '/'), [200, { visits: 2 }, 32])
assert.deepEqual(await visit('GET', '/account'), [403, refused, undefined], 'the guard refuses a visitor without a login')
const anonymous = cookies
assert.deepEqual(await visit('POST', '/login'), [201, {}, 32])
assert.notDeepEqual(cookies, anonymous, 'the login changes the key')
assert.deepEqual(await visit('GET', '/account'), [200, { name: 'Ada' }, undefined])
assert.deepEqual(await visit('GET', '/'), [200, { visits: 3 }, 32])
const signedIn = cookies
assert.deepEqual(await visit('POST', '/logout'), [201, {}, 0], 'the cookie is deleted')
cookies = signedIn
assert.deepEqual(await visit('GET', '/account'), [403, refused, 0], 'the former key is worth nothing')
assert.deepEqual([...new Set(seen)], [undefined], 'middleware has no session')
assert.equal(seen.length, 8)
await app.close()
