/** express-session with connect-pg-simple, with the options that its manual recommends. */
import { express, expressSession, type PeerSession } from './peers.ts'
import { cookieAge, exitOnSignal, newSession, port, secret } from './serve.ts'
import { openStore } from './store.ts'

interface Request {
  session: PeerSession
}
interface Response {
  json(body: object): void
}

const store = openStore('pg-simple')
const app = express()
app.use(expressSession({ secret, store, cookie: { maxAge: cookieAge * 1000 }, resave: false, saveUninitialized: false }))
app.get('/untouched', (_request: Request, response: Response) => response.json({ ok: true }))
app.get('/read', ({ session }: Request, response: Response) => response.json({ visits: session.visits ?? null }))
app.get('/write', ({ session }: Request, response: Response) => {
  session.visits = (session.visits ?? 0) + 1
  response.json({ visits: session.visits })
})
app.get('/new', ({ session }: Request, response: Response) => {
  Object.assign(session, newSession)
  response.json({ visits: 0 })
})
app.get('/logout', ({ session }: Request, response: Response) => {
  session.destroy((error) => response.json(error ?? { ok: true }))
})
const server = app.listen(port, '127.0.0.1', () => process.send?.({ ready: true }))
exitOnSignal(async () => {
  server.close()
  server.closeAllConnections()
})
