/** The small examples start by one line, and do what they say. That beside Django is in test/live/example.ts. */
import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { Client, startExample } from './fixtures/example.ts'

t.test('counter: counts for each browser, until it is forgotten', async (t) => {
  const url = await startExample(t, 'counter.ts')
  const client = new Client(url)
  await client.get('/')
  t.match((await client.get('/')).body, '<strong>2</strong>')
  t.match((await new Client(url).get('/')).body, '<strong>1</strong>')
  t.match(await client.post('/forget'), { status: 303, location: '/' })
  t.match((await client.get('/')).body, '<strong>1</strong>')
})

t.test('login: signs up, out and in, and refuses others', async (t) => {
  const url = await startExample(t, 'login.ts')
  const client = new Client(url)
  const ada = { username: 'ada', password: 'lovelace' }
  t.match(await client.get('/account'), { status: 302, location: '/?next=/account' })
  t.match(await client.post('/signup', ada), { status: 303, location: '/account' })
  t.match((await client.get('/account')).body, '<strong>ada</strong>')
  await client.post('/logout')
  t.match(await client.get('/account'), { status: 302 })
  t.match(await client.post('/login', { ...ada, password: 'wrong' }), { status: 403 })
  t.match(await client.post('/login', ada), { status: 303, location: '/account' })
  t.match((await client.get('/account')).body, '<strong>ada</strong>')
  t.match(await new Client(url).post('/signup', ada), { status: 409 })
})

t.test('websocket: messages have the name in the session, for as long as there is one', async (t) => {
  const url = await startExample(t, 'websocket.ts')
  const client = new Client(url)
  const [, name] = /You are (guest \d+)\./.exec((await client.get('/')).body) ?? []
  t.ok(name)

  const connect = async (cookie: string) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/socket`, { origin: url, headers: { cookie } })
    await once(socket, 'open')
    return socket
  }
  const sender = await connect(client.cookie)
  const reader = await connect('')
  for (const count of [1, 2]) {
    const received = once(reader, 'message')
    sender.send('hello')
    t.equal(String((await received)[0]), `${name}, message ${count}: hello`)
  }
  reader.send('hello')
  const [code, reason] = await once(reader, 'close')
  t.equal(code, 1008)
  t.match(String(reason), 'Your session has ended.')

  const stranger = new WebSocket(`${url.replace('http', 'ws')}/socket`, { origin: 'https://example.com' })
  const [error] = await once(stranger, 'error')
  t.match(error.message, '403')
  sender.close()
})
