/**
 * `npm run bench:codec`: the codec by itself, in this process, against one that is
 * written by hand with nothing but JSON, base64url and HMAC.
 */
import { Codec, STORE_SALT } from '../dist/django/codec.js'
import { jsonSerializer } from '../dist/django/serializer.js'
import { commandLine } from './command-line.ts'
import { createCodec } from './contenders/django-codec.ts'
import { decimal, table } from './report.ts'
import { sessionData } from './server.ts'
import { median } from './statistics.ts'

commandLine({
  command: 'npm run bench:codec --',
  about: 'Compares the codec with one that is written by hand.',
  settings: {}
})

const ROUNDS = 31
const MICROSECONDS = 10_000
const secretKey = 'the secret of the benchmarks'

const ours = new Codec({
  secretKey,
  secretKeyFallbacks: [],
  salt: STORE_SALT,
  clock: () => new Date(),
  serializer: jsonSerializer,
  compressAbove: Number.POSITIVE_INFINITY,
  maxSize: 2 ** 24
})
const plain = createCodec(secretKey, Number.POSITIVE_INFINITY)
const deflating = createCodec(secretKey, 0)

/** What is done to one session, by each of the three. */
interface Task {
  name: string
  ours(): unknown
  plain(): unknown
  deflating(): unknown
}

function tasks(bytes: number): Task[] {
  const data = sessionData(bytes)
  const stored = plain.encode(data)
  const deflated = deflating.encode(data)
  const members = ours.decode(stored)
  let visits = 0
  const newMembers = () => new Map(Object.entries(data).map(([name, value]) => [name, jsonSerializer.member(name, value)]))
  return [
    {
      name: 'decode, read a value',
      ours: () => ours.decode(stored).get('visits')?.value,
      plain: () => plain.decode(stored).visits,
      deflating: () => deflating.decode(deflated).visits
    },
    {
      name: 'change a value, encode',
      ours: () => ours.encode(members.set('visits', jsonSerializer.member('visits', ++visits))),
      plain: () => {
        data.visits = ++visits
        return plain.encode(data)
      },
      deflating: () => {
        data.visits = ++visits
        return deflating.encode(data)
      }
    },
    {
      name: 'encode new data',
      ours: () => ours.encode(newMembers()),
      plain: () => plain.encode(data),
      deflating: () => deflating.encode(data)
    }
  ]
}

/** Microseconds of CPU per call, since others may be using the processor. */
function time(work: () => unknown): number {
  const start = process.cpuUsage()
  let calls = 0
  let elapsed = 0
  while (elapsed < MICROSECONDS) {
    for (let index = 0; index < 50; index++) work()
    calls += 50
    const { user, system } = process.cpuUsage(start)
    elapsed = user + system
  }
  return elapsed / calls
}

const rows: string[][] = []
for (const bytes of [100, 190, 1000, 4000, 20_000]) {
  for (const task of tasks(bytes)) {
    const rounds = Array.from({ length: ROUNDS }, () => ({
      ours: time(task.ours),
      plain: time(task.plain),
      deflating: time(task.deflating)
    }))
    const middle = (name: 'ours' | 'plain' | 'deflating') => median(rounds.map((round) => round[name]))
    rows.push([
      `${bytes} B: ${task.name}`,
      decimal(middle('ours'), 2),
      decimal(middle('plain'), 2),
      decimal(middle('deflating'), 2),
      decimal(median(rounds.map((round) => round.ours / round.plain)), 2)
    ])
  }
}
console.log(`CPU us per call, medians of ${ROUNDS} rounds; the goal at 190 B is 1.2 times the codec by hand\n`)
console.log(table(['', 'ours, plain', 'by hand, plain', 'by hand, deflating', 'ours / by hand, plain'], rows))
