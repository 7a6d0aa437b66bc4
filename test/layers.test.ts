/** The layers of lib/: a file imports from its own folder, or from a layer below. Imports of types count. */
import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import t from 'tap'

const lib = new URL('../lib/', import.meta.url)

/** From top to bottom. A name that ends with a slash is a folder. Those of one line do not import each other. */
const LAYERS = [
  ['index', 'untyped', 'auth/', 'testing', 'testing/', 'cli'],
  ['cli/', 'http/'],
  ['sessions'],
  ['assembly'],
  ['settings/'],
  ['user-sessions/'],
  ['session/', 'engines/'],
  ['database/'],
  ['caches/'],
  ['django/'],
  ['migrations'],
  ['events'],
  ['contract'],
  ['deadline'],
  ['errors', 'kind-of'],
  ['timers']
]

interface Module {
  name: string
  /** Without comments. */
  code: string
  imports: string[]
}

function readModule(file: string): Module {
  const code = readFileSync(new URL(file, lib), 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/(?<=^|[\s;])\/\/.*$/gm, '')
  const sources = Array.from(code.matchAll(/(?: from |\bimport\(|^import )'([^']+)'/gm), ([, source]) => source as string)
  const resolve = (source: string) => (source.startsWith('.') ? posix.join(posix.dirname(file), source).replace(/\.js$/, '') : source)
  return { name: file.replace(/\.ts$/, ''), code, imports: sources.map(resolve) }
}

const modules = (readdirSync(lib, { recursive: true }) as string[]).filter((file) => /(?<!\.d)\.ts$/.test(file)).map(readModule)
const unitOf = (name: string) => (name.includes('/') ? name.replace(/\/.*/, '/') : name)
const layerOf = (name: string) => LAYERS.findIndex((units) => units.includes(unitOf(name)))
const namesOf = (pattern: RegExp) => modules.filter(({ code }) => pattern.test(code)).map(({ name }) => name)
const isAnyOf = (patterns: RegExp) => (name: string) => !patterns.test(name)

t.test('imports point down, or stay in their folder', async (t) => {
  for (const { name, imports } of modules) {
    t.not(layerOf(name), -1, `${name} is in a layer`)
    const own = imports.filter((source) => modules.some((module) => module.name === source))
    const upward = own.filter((source) => unitOf(source) !== unitOf(name) && layerOf(source) <= layerOf(name) && layerOf(name) !== 0)
    t.strictSame(upward, [], name)
  }
  t.ok(modules.find(({ name }) => name === 'django/codec')?.imports.includes('errors'), 'imports are found')
})

t.test('only HTTP, logins and the entries know Fastify', async (t) => {
  t.strictSame(namesOf(/\bFastify[A-Z](?!rror)|'fastify'/).filter(isAnyOf(/^(?:http|auth)\/|^index$/)), [])
})

t.test('SQL is built in database/ only', async (t) => {
  t.strictSame(
    namesOf(/['"`](?:SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE) |\b(?:COMMIT|ROLLBACK)\b/).filter(isAnyOf(/^database\//)),
    []
  )
})

t.test('only the dialects, the inspection and the command name databases', async (t) => {
  const allowed =
    /^database\/(?:dialects?|driver-errors|(?:server-)?inspection|mysql|postgres|sqlite)$|^cli\/(?:arguments|database|errors)$/
  t.strictSame(namesOf(/postgres|sqlite|mysql|mariadb|'pg'/i).filter(isAnyOf(allowed)), [])
})

t.test("the system's clock is read as the default of an option only", async (t) => {
  const readings = modules.flatMap(({ name, code }) =>
    code
      .split('\n')
      .filter((line) => /new Date\(\)|\bDate\.now\b|\bDate\(\)/.test(line))
      .map((line) => `${name}: ${line.trim()}`)
  )
  t.not(readings.length, 0)
  for (const reading of readings) t.match(reading, /\bclock(?::| =) \(\) => new Date\(\)/, reading)
})

t.test('timers come from the module that takes them when it is loaded, so that fake timers reach nothing', async (t) => {
  t.strictSame(namesOf(/'node:timers|\bperformance\.now\b/), ['timers'])
  for (const { name, code, imports } of modules) {
    if (/(?<![.\w])(?:set|clear)(?:Timeout|Interval|Immediate)\(/.test(code)) t.ok(imports.includes('timers'), name)
  }
})
