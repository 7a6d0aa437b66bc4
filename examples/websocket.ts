/** A chat whose websocket knows the session of its page. In a clone: `npm run example examples/websocket.ts` */
import websocket from '@fastify/websocket'
import Fastify, { type FastifyRequest } from 'fastify'
import sessions from 'fastify-django-sessions'
import { migrationSource } from 'fastify-django-sessions/migrations'
import createKnex from 'knex'

declare module 'fastify-django-sessions' {
  interface SessionData {
    nickname: string
    messages_sent: number
  }
}

const knex = createKnex({ client: 'better-sqlite3', connection: { filename: 'websocket.sqlite3' }, useNullAsDefault: true })
await knex.migrate.latest({ migrationSource })

const app = Fastify({ logger: true })
app.addHook('onClose', () => knex.destroy())
await app.register(sessions, { secretKey: process.env.SECRET_KEY ?? 'for development only', knex })
await app.register(websocket)

app.get('/', async (request, reply) => {
  const session = await request.session.load()
  const nickname = session.setDefault('nickname', `guest ${Math.floor(Math.random() * 1000)}`)
  return reply.type('text/html').send(`<!doctype html>
<meta name="viewport" content="width=device-width"><title>Chat</title>
<p>You are ${nickname}.</p>
<form><label>Message <input required></label> <button>Send</button></form>
<ul></ul>
<script>
  const socket = new WebSocket(location.href.replace('http', 'ws') + 'socket')
  const input = document.querySelector('input')
  const show = (text) => document.querySelector('ul').prepend(Object.assign(document.createElement('li'), { textContent: text }))
  socket.onmessage = ({ data }) => show(data)
  socket.onclose = ({ reason }) => show(reason || 'The connection was closed.')
  document.querySelector('form').onsubmit = (event) => {
    event.preventDefault()
    socket.send(input.value)
    input.value = ''
  }
</script>`)
})

/** Browsers let any site open a websocket, and send the cookie along. */
async function isOwnOrigin(request: FastifyRequest): Promise<void> {
  if (request.headers.origin === `${request.protocol}://${request.host}`) return
  throw Object.assign(new Error('Expected a page of this site'), { statusCode: 403 })
}

app.get('/socket', { websocket: true, preValidation: isOwnOrigin }, (socket, request) => {
  socket.on('message', async (data: Buffer) => {
    try {
      // A websocket outlives its session, and no reply saves it: open it for each message, and save it here.
      const session = await app.sessions.forCookie(request.headers.cookie).load()
      const nickname = session.get('nickname')
      if (nickname === undefined) return socket.close(1008, 'Your session has ended. Reload the page.')
      session.set('messages_sent', (sent = 0) => sent + 1)
      await session.save()
      const line = `${nickname}, message ${session.get('messages_sent')}: ${String(data).slice(0, 500)}`
      for (const client of app.websocketServer.clients) client.send(line)
    } catch (error) {
      request.log.error(error)
      socket.close(1011)
    }
  })
})

await app.listen({ port: Number(process.env.PORT ?? 3000) })
