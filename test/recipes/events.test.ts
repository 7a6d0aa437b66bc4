/** docs/events.md: metrics, traces and an audit table, each with the real package. */
import { join } from 'node:path'
import { context, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { BasicTracerProvider, InMemorySpanExporter, type ReadableSpan, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import type { Knex } from 'knex'
import { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import { MemoryCache } from '../../lib/caches/memory.ts'
import { EVENT_NAMES } from '../../lib/events.ts'
import { addRoutes, Browser, createApp } from '../fixtures/app.ts'
import { missing, openDatabase } from '../fixtures/databases.ts'
import { fileBlock, table } from '../fixtures/pages.ts'

/** A module of the page. */
async function recipe<Module>(t: Test, name: string): Promise<Module> {
  return import(join(t.testdir({ [name]: fileBlock(name) }), name))
}

t.test('the page has each event', async (t) => {
  t.strictSame(
    table('docs/events.md', 'Events').map(([cell]) => cell),
    EVENT_NAMES.map((name) => `\`${name}\``)
  )
})

t.test('Prometheus reads how often and how long', async (t) => {
  const { measureSessions } = await recipe<{ measureSessions(register: Registry): void }>(t, 'session-metrics.ts')
  const register = new Registry()
  measureSessions(register)
  const { app } = await createApp(t, { engine: 'cache', cache: new MemoryCache() }, (app) => {
    addRoutes(app)
    app.get('/metrics', async (_request, reply) => reply.type(register.contentType).send(await register.metrics()))
  })
  const visitor = new Browser(app)
  for (const url of ['/count', '/count', '/cycle', '/flush']) await visitor.get(url)
  await new Browser(app, 'k'.repeat(32)).get('/read')
  await app.sessions.clearExpired()
  const { body } = await app.inject('/metrics')
  for (const line of [
    'sessions_events_total{event="created",reason=""} 1',
    'sessions_events_total{event="rotated",reason=""} 1',
    'sessions_events_total{event="ended",reason="flush"} 1',
    'sessions_events_total{event="unknown",reason="absent"} 1',
    'sessions_removed_total 0',
    'sessions_operation_seconds_count{operation="create",outcome="created"} 1',
    'sessions_operation_seconds_count{operation="save",outcome="saved"} 1',
    'sessions_operation_seconds_count{operation="load",outcome="unknown"} 1',
    'sessions_batch_size_bucket{le="1"} 8'
  ]) {
    t.ok(body.includes(`${line}\n`), line)
  }
})

t.test('OpenTelemetry: an operation is a span of its request, and a batch links to several', { skip: missing('postgres') }, async (t) => {
  const exporter = new InMemorySpanExporter()
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
  trace.setGlobalTracerProvider(provider)
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  t.teardown(() => {
    trace.disable()
    context.disable()
  })
  const { traceSessions } = await recipe<{ traceSessions(): void }>(t, 'session-traces.ts')
  traceSessions()

  const { app } = await createApp(t, { knex: await openDatabase(t, 'postgres'), verify: false })
  const keys = await Promise.all(
    [1, 2].map(async () => {
      const session = app.sessions.open().set('a', 1)
      await session.save()
      return session.sessionKey
    })
  )
  exporter.reset()
  const tracer = trace.getTracer('requests')
  await Promise.all(
    keys.map((key) =>
      tracer.startActiveSpan('request', async (span) => {
        await app.sessions.open(key).load()
        span.end()
      })
    )
  )
  const spans = exporter.getFinishedSpans()
  const named = (name: string) => spans.filter((span) => span.name === name)
  const [batch, ...others] = named('session batch') as [ReadableSpan]
  const loads = named('session load')
  t.strictSame([others.length, loads.length, named('request').length], [0, 2, 2])
  const ids = (list: readonly ReadableSpan[]) => list.map((span) => span.spanContext().spanId).sort()
  t.strictSame(loads.map(({ parentSpanContext }) => parentSpanContext?.spanId).sort(), ids(named('request')))
  t.strictSame(batch.links.map(({ context }) => context.spanId).sort(), ids(loads))
  t.equal(batch.parentSpanContext, undefined, 'no request owns it')
  t.notOk(named('request').some((span) => span.spanContext().traceId === batch.spanContext().traceId))
  for (const { attributes } of loads) {
    t.match(attributes, { 'session.engine': 'db', 'session.ref': /^[0-9a-f]{12}$/, 'session.outcome': 'found', 'session.batch_size': 2 })
  }
  const shown = JSON.stringify(spans.map(({ name, attributes }) => [name, attributes]))
  for (const key of keys) t.notOk(shown.includes(String(key)))
})

interface Audit {
  up(knex: Knex): Promise<void>
  auditSessions(knex: Knex, log: { error(details: object, message: string): void }): () => Promise<void>
}

t.test('an audit table has the life of a session, without its key', async (t) => {
  const { up, auditSessions } = await recipe<Audit>(t, 'session-audit.ts')
  const knex = await openDatabase(t, 'sqlite')
  await up(knex)
  const stored = auditSessions(knex, { error: (_details, message) => t.fail(message) })
  const { app } = await createApp(t, { knex }, (app) => {
    addRoutes(app)
    app.get('/login', async (request) => request.session.set('_auth_user_id', '7').isEmpty)
  })
  const visitor = new Browser(app)
  const keys: unknown[] = []
  for (const url of ['/login', '/cycle', '/flush']) {
    await visitor.get(url)
    keys.push(visitor.cookie)
  }
  await stored()
  const rows = await knex('session_audit').orderBy('id')
  t.match(rows, [
    { event: 'created', reason: null, user_id: '7', ip: '127.0.0.1' },
    { event: 'rotated', previous_ref: rows[0].session_ref, user_id: '7' },
    { event: 'ended', reason: 'flush', session_ref: rows[1].session_ref }
  ])
  t.equal(rows.length, 3)
  for (const key of keys.slice(0, 2)) t.notOk(JSON.stringify(rows).includes(String(key)))
})
