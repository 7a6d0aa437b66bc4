/**
 * Random requests at the same time, of several processes on one database, and of a rival
 * that writes as Django does: there must be one order of their steps in which the model
 * gives every client the answers that it got, and ends with what is stored. SEED=number
 * tries other programs.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import { toObject } from '../lib/django/serializer.ts'
import { migrationSource } from '../lib/migrations.ts'
import { createDatabase, type DatabaseName, missing } from './fixtures/databases.ts'
import { DjangoClient } from './fixtures/django-client.ts'
import { createCodec } from './fixtures/engines.ts'
import type { Client } from './fixtures/session-client.ts'
import { type Answer, type Command, type Data, isLocal, Model } from './fixtures/session-model.ts'
import type { Task } from './fixtures/session-process.ts'

const seed = Number(process.env.SEED ?? 20_300_101)
const RUNS = 40
/** Milliseconds after which no further program is begun. */
const ENOUGH = 5000

/** Of two processes two each, and the rival. */
const CLIENTS = 5
const RIVAL = 4

/** One request each after another: what its handler does between reading the session and the reply. */
type Program = Command[][]
type Step = { command: Command; answer: Answer }

const codec = createCodec()

class Process {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async start(t: Test, config: Knex.Config): Promise<Process> {
    const program = fileURLToPath(new URL('fixtures/session-process.ts', import.meta.url))
    const child = fork(program, [JSON.stringify(config)], { execArgv: ['--import', 'tsx'] })
    t.teardown(() => child.kill('SIGKILL'))
    child.setMaxListeners(CLIENTS)
    await once(child, 'message')
    return new Process(child)
  }

  /** A client of this process, which has the cookie. */
  client(client: number, batching: boolean, cookie: string | null): Client {
    let first = true
    return {
      cookie,
      do: (command) => {
        const task: Task = { client, batching, command, ...(first ? { cookie } : {}) }
        first = false
        return this.#ask(task)
      }
    }
  }

  #ask(task: Task): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const ended = () => reject(new Error('the process ended'))
      const listen = (message: { client: number; answer: Answer }) => {
        if (message.client !== task.client) return
        this.#child.off('message', listen).off('exit', ended)
        resolve(message.answer)
      }
      this.#child.on('message', listen).once('exit', ended)
      this.#child.send(task)
    })
  }
}

/** The requests of a client, one after another. What became of each step; an interrupted request has no more of them. */
async function run(client: Client, program: Program): Promise<Step[]> {
  const steps: Step[] = []
  for (const commands of program) {
    for (const command of [{ kind: 'read' }, ...commands, { kind: 'end' }] as Command[]) {
      const answer = await client.do(command)
      steps.push({ command, answer })
      if (answer.result === 'interrupted') break
    }
  }
  return steps
}

/** Whether an order of the steps explains all answers, and what is stored in the end. */
function isExplained(model: Model, steps: readonly Step[][], stored: ReadonlyMap<string, Data>): boolean {
  const tried = new Set<string>()
  const search = (model: Model, places: readonly number[]): boolean => {
    const open = [...places.keys()].filter((client) => (places[client] as number) < (steps[client] as Step[]).length)
    if (open.length === 0) return model.compare(stored) === null
    const state = `${places} ${model}`
    if (tried.has(state)) return false
    tried.add(state)
    const next = (client: number) => steps[client]?.[places[client] as number] as Step
    // Nobody can tell when those happen.
    const local = open.find((client) => isLocal(next(client).command))
    return (local === undefined ? open : [local]).some((client) => {
      const copy = model.copy()
      const { command, answer } = next(client)
      return copy.follow(client, command, answer) === null && search(copy, places.with(client, (places[client] as number) + 1))
    })
  }
  return search(model, new Array(steps.length).fill(0))
}

async function readStored(knex: Knex): Promise<Map<string, Data>> {
  const rows: { session_key: string; session_data: string }[] = await knex('django_session').select('session_key', 'session_data')
  return new Map(rows.map(({ session_key, session_data }) => [session_key, toObject(codec.decode(session_data))]))
}

/** Each client's steps on a line of its own, and what is stored. */
function describe(steps: readonly Step[][], stored: ReadonlyMap<string, Data>): string {
  const step = ({ command: { kind, ...details }, answer: { result, data, key } }: Step) =>
    `${kind}${Object.values(details).join('=')} ${result === 'served' ? JSON.stringify(data) : result} ${key?.slice(0, 4)}`
  const rows = [...stored].map(([key, data]) => `${key.slice(0, 4)} ${JSON.stringify(data)}`)
  return [...steps.map((steps, client) => `${client}: ${steps.map(step).join(', ')}`), `stored: ${rows.join(', ')}`].join('\n')
}

const name = fc.constantFrom('a', 'b', 'count', '_auth_user_id')
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('set' as const), name, value: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), name }) },
  {
    weight: 6,
    arbitrary: fc.constantFrom('count', 'count', 'count', 'clear', 'save', 'flush', 'cycle').map((kind) => ({ kind }) as Command)
  }
)
const program: fc.Arbitrary<Program> = fc.array(fc.array(command, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 2 })
// Django's new key is made in two steps, between which both are alive.
const rivalProgram = program.map((requests) => requests.map((commands) => commands.filter(({ kind }) => kind !== 'cycle')))
const programs = fc.tuple(program, program, program, program, rivalProgram)

async function assertPrograms(t: Test, database: DatabaseName, batching: readonly [boolean, boolean]) {
  const config = await createDatabase(t, database)
  const knex = createKnex(config)
  t.teardown(() => knex.destroy())
  await knex.migrate.latest({ migrationSource })
  const processes = await Promise.all([Process.start(t, config), Process.start(t, config)])
  let runs = 0
  const check = async (programs: readonly Program[]) => {
    await knex('django_session').delete()
    const model = new Model({ clients: CLIENTS, django: new Set([RIVAL]) })
    // All begin with the cookie of one session.
    const rival = new DjangoClient(knex, codec)
    for (const command of [{ kind: 'set', name: 'a', value: 1 }, { kind: 'end' }] as const) {
      const wrong = model.follow(RIVAL, command, await rival.do(command))
      if (wrong !== null) throw new Error(wrong)
    }
    model.cookies.fill(model.cookies[RIVAL] as number)
    const clients = [0, 1, 2, 3].map((client) => {
      const process = processes[client % 2] as Process
      return process.client(client, batching[client % 2] as boolean, rival.cookie)
    })
    const steps = await Promise.all([...clients, rival].map((client, index) => run(client, programs[index] as Program)))
    const stored = await readStored(knex)
    if (!isExplained(model, steps, stored)) throw new Error(`no order explains\n${describe(steps, stored)}`)
    runs++
  }
  let running = Promise.resolve()
  const property = (programs: readonly Program[]) => {
    running = check(programs)
    return running
  }
  await fc.assert(fc.asyncProperty(programs, property), {
    seed,
    numRuns: RUNS,
    interruptAfterTimeLimit: ENOUGH,
    markInterruptAsFailure: false
  })
  // It is not awaited where it was interrupted.
  await running
  t.ok(runs > 0, `${runs} programs of the seed ${seed}`)
}

// Only PostgreSQL knows batches.
const cases: [DatabaseName, string, [boolean, boolean]][] = [
  ['postgres', 'two processes with batches', [true, true]],
  ['postgres', 'two processes without batches', [false, false]],
  ['postgres', 'a process with batches and one without', [true, false]],
  ['mariadb', 'two processes', [true, true]]
]

for (const [database, processes, batching] of cases) {
  t.test(`random programs of ${processes} and Django on ${database}`, { skip: missing(database) }, (t) =>
    assertPrograms(t, database, batching)
  )
}
