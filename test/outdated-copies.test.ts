import t from 'tap'
import { OutdatedCopies } from '../lib/engines/outdated-copies.ts'

t.test('a copy counts as outdated until it was invalidated, or is too old to be used', async (t) => {
  let now = 1000
  const outdated = new OutdatedCopies(60, () => now)
  outdated.add('a')
  outdated.add('b')
  outdated.delete('a')
  t.strictSame([outdated.has('a'), outdated.has('b'), outdated.has('c')], [false, true, false])
  now += 59_999
  t.equal(outdated.has('b'), true)
  now += 1
  t.equal(outdated.has('b'), false)
})

t.test('of ten thousand copies each is remembered; one more, and all count as outdated for their lifetime', async (t) => {
  let now = 1000
  const outdated = new OutdatedCopies(60, () => now)
  for (let number = 0; number < 10_000; number++) outdated.add(`key ${number}`)
  outdated.add('key 0')
  t.strictSame([outdated.areAll, outdated.has('key 1'), outdated.has('other')], [false, true, false])
  outdated.add('one more')
  t.strictSame([outdated.areAll, outdated.has('key 1'), outdated.has('one more')], [true, false, true])
  now += 60_000
  t.equal(outdated.areAll, false)
  for (let number = 0; number < 10_000; number++) outdated.add(`key ${number}`)
  t.equal(outdated.areAll, false, 'those that are too old leave room')
})
