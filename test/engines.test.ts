import t from 'tap'
import { engineContract } from '../lib/testing.ts'
import { engineCases } from './fixtures/engines.ts'

for (const { name, skip, create } of engineCases) {
  t.test(`engine ${name}`, { skip }, async (t) => {
    const createEngine = await create(t)
    for (const { name, run } of engineContract) await t.test(name, () => run(createEngine))
  })
}
