import t from 'tap'
import { joinLists, privateCacheControl, varyOnCookie } from '../../lib/http/headers.ts'

t.test('Vary gets Cookie once and keeps what it had', async (t) => {
  for (const [before, after] of [
    [undefined, 'Cookie'],
    ['', 'Cookie'],
    ['Accept-Encoding', 'Accept-Encoding, Cookie'],
    ['Accept-Encoding,Origin', 'Accept-Encoding, Origin, Cookie'],
    ['Cookie', 'Cookie'],
    ['cookie, Origin', 'cookie, Origin'],
    ['Origin , COOKIE', 'Origin, COOKIE'],
    ['X-Cookie', 'X-Cookie, Cookie'],
    ['*', '*'],
    ['Origin, *', '*']
  ] as const) {
    t.equal(varyOnCookie(before), after, String(before))
  }
})

t.test('headers that are lists are joined, with commas inside quotes left alone', async (t) => {
  t.equal(joinLists('Accept', undefined, ' Origin ,Cookie'), 'Accept, Origin, Cookie')
  t.equal(joinLists('private="A, B"', 'max-age=60'), 'private="A, B", max-age=60')
  t.equal(joinLists(undefined, ''), '')
})

t.test('Cache-Control that lets shared caches store a reply becomes private, and keeps its other directives', async (t) => {
  for (const [before, after] of [
    ['public, max-age=60', 'private, max-age=60'],
    ['max-age=60', 'private, max-age=60'],
    ['s-maxage=600, max-age=60, must-revalidate', 'private, max-age=60, must-revalidate'],
    ['PUBLIC, Max-Age=60', 'private, Max-Age=60'],
    ['public', 'private'],
    ['max-age=60, private="X-User"', 'private, max-age=60'],
    ['no-cache="A, B", public', 'private, no-cache="A, B"']
  ] as const) {
    t.equal(privateCacheControl(before, false), after, before)
  }
})

t.test('Cache-Control that shared caches do not store stays, and so does a reply without any', async (t) => {
  for (const header of ['private, max-age=60', 'Private', 'no-store', 'no-store, public', 'no-cache', 'must-revalidate', '', undefined]) {
    t.equal(privateCacheControl(header, false), undefined, String(header))
  }
})

t.test('the header Expires is a lifetime as well', async (t) => {
  t.equal(privateCacheControl(undefined, true), 'private')
  t.equal(privateCacheControl('must-revalidate', true), 'private, must-revalidate')
  t.equal(privateCacheControl('no-store', true), undefined)
})
