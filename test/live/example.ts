/** The example beside a Django: one visitor on pages of both, with one session and one login. */
import t from 'tap'
import { Client, startExample } from '../fixtures/example.ts'
import { freePort } from '../fixtures/servers.ts'
import { PYTHON } from './django.ts'

t.test('the example beside Django: signed in and counted on both sides', async (t) => {
  const url = await startExample(t, 'beside-django/service.ts', { PYTHON, DJANGO_PORT: String(await freePort()) })
  const client = new Client(url)
  t.match(await client.get('/account/'), { status: 302, location: '/login/?next=/account/' })
  t.match((await client.get('/')).body, 'You are nobody, and have visited 1 pages.')

  const token = (body: string) => /name="csrfmiddlewaretoken" value="(\w+)"/.exec(body)?.[1] as string
  const form = await client.get('/login/')
  const login = { csrfmiddlewaretoken: token(form.body), username: 'ada', password: 'lovelace' }
  t.match(await client.post('/login/', login), { status: 302, location: '/' })

  t.match((await client.get('/account/')).body, 'You are ada, and have visited 2 pages.')
  const home = await client.get('/')
  t.match(home.body, 'You are ada, and have visited 3 pages.')
  await client.post('/logout/', { csrfmiddlewaretoken: token(home.body) })
  t.match(await client.get('/account/'), { status: 302 })
})
