/** What must compile and what must not, checked by `tsc -p test`; nothing here runs. */
import type { Session, SessionData, SessionEnd } from '../../lib/index.ts'
import { typeOf } from './expect.ts'

interface CartItem {
  sku: string
  quantity: number
}

// Named like nothing in the tests that run: the keys hold for all of them.
declare module 'fastify-django-sessions' {
  interface SessionData {
    typedVisits: number
    typedCart: CartItem[]
    typedTheme?: 'dark' | 'light'
    typedNote: string | null
  }
}

export async function declaredKeys(session: Session): Promise<void> {
  typeOf(await session.load()).is<Session>()

  typeOf(session.get('typedVisits')).is<number | undefined>()
  typeOf(session.get('typedCart')).is<CartItem[] | undefined>()
  typeOf(session.get('typedTheme')).is<'dark' | 'light' | undefined>()
  typeOf(session.get('typedNote')).is<string | null | undefined>()
  typeOf(session.get('_auth_user_id')).is<string | undefined>()
  typeOf(session.get('typedVisits', 0)).is<number>()
  typeOf(session.get('typedCart', [])).is<CartItem[]>()
  typeOf(session.get('typedTheme', 'dark')).is<'dark' | 'light'>()
  typeOf(session.pop('typedVisits', 0)).is<number>()
  typeOf(session.get('typedVisits', null)).is<number | null>()
  typeOf(session.get('typedCart', null)).is<CartItem[] | null>()
  typeOf(session.get('typedNote', '')).is<string | null>()
  typeOf(session.pop('typedVisits', null)).is<number | null>()
  typeOf(session.get('typedVisits', undefined)).is<number | undefined>()
  typeOf(session.pop('typedVisits')).is<number | undefined>()
  typeOf(session.setDefault('typedVisits', 0)).is<number>()

  session.set('typedVisits', 1)
  session.set('typedVisits', undefined)
  session.set('typedVisits', (visits = 0) => visits + 1)
  session.set('typedVisits', () => undefined)
  session.set('typedCart', (cart = []) => [...cart, { sku: 'a', quantity: 1 }])
  session.set('typedTheme', 'light')
  session.set('typedNote', null)
  session.update({ typedVisits: 2, typedTheme: 'dark', 'an undeclared key': [1] })
  session.delete('typedVisits').delete('an undeclared key')
  typeOf(session.has('typedVisits')).is<boolean>()

  // @ts-expect-error a text is no number
  session.set('typedVisits', '1')
  // @ts-expect-error null is not in the declared type
  session.set('typedVisits', null)
  // @ts-expect-error nor is a bigint
  session.set('typedVisits', 1n)
  // @ts-expect-error one of the items has a field of the wrong type
  session.set('typedCart', [{ sku: 'a', quantity: '1' }])
  // @ts-expect-error not one of the literals
  session.set('typedTheme', 'blue')
  // @ts-expect-error the function returns a text
  session.set('typedVisits', () => '1')
  // @ts-expect-error so does this one, in one of its branches
  session.set('typedVisits', (visits) => (visits === undefined ? 'none' : visits))
  // @ts-expect-error the present value may be absent
  session.set('typedVisits', (visits) => visits + 1)
  // @ts-expect-error the function expects a text
  session.set('typedVisits', (visits: string) => visits.length)
  // @ts-expect-error a promise is not awaited
  session.set('typedVisits', async () => 1)
  // @ts-expect-error the value is of the wrong type
  session.update({ typedVisits: '2' })
  // @ts-expect-error the default is of the wrong type
  session.get('typedVisits', '0')
  // @ts-expect-error so it is here
  session.pop('typedVisits', '0')
  // @ts-expect-error and here
  session.setDefault('typedVisits', '0')
  // @ts-expect-error what is stored is of the declared type
  session.setDefault('typedVisits', null)
  // @ts-expect-error null may be the default
  typeOf(session.get('typedVisits', null)).is<number>()
  // @ts-expect-error what get returns may be absent
  typeOf(session.get('typedVisits')).is<number>()
  // @ts-expect-error the default does not change the declared type
  typeOf(session.get('typedVisits', 0)).is<string>()
}

export function undeclaredKeys(session: Session, name: string): void {
  typeOf(session.get('undeclared')).is<unknown>()
  typeOf(session.get(name)).is<unknown>()
  typeOf(session.get('undeclared', 0)).is<number>()
  typeOf(session.get('undeclared', 'text')).is<string>()
  typeOf(session.get('undeclared', false)).is<boolean>()
  typeOf(session.get('undeclared', 0n)).is<bigint>()
  typeOf(session.get('undeclared', ['text'])).is<string[]>()
  typeOf(session.get('undeclared', null)).is<null>()
  typeOf(session.pop('undeclared', 0)).is<number>()
  typeOf(session.setDefault('undeclared', 0)).is<number>()
  session.set('undeclared', { any: ['value', 1n, null] })
  session.set(name, 'value')
  session.set('undeclared', (count = 0) => count + 1)
  session.set('undeclared', (list: string[] = []) => [...list, 'text'])

  // @ts-expect-error unknown is not a number
  session.get('undeclared') + 1
  // @ts-expect-error keys are text
  session.get(1)
}

export function everythingElse(session: Session): void {
  typeOf(session.sessionKey).is<string | null>()
  typeOf(session.isEmpty || session.isLoaded || session.accessed || session.modified).is<boolean>()
  typeOf(session.toObject()).is<Record<string, unknown>>()
  typeOf([...session]).is<[string, unknown][]>()
  typeOf(session.keys()).is<string[]>()
  typeOf(session.getExpiryDate()).is<Date>()
  typeOf(session.endsAt).is<SessionEnd | null>()
  typeOf(session.getExpiryAge() + session.size).is<number>()
  typeOf(session.cycleKey()).is<Promise<void>>()
  session.modified = true
  session.setExpiry(300).setExpiry(new Date()).setExpiry(null)

  // @ts-expect-error data is not set by assignment
  session.foo = 1
  // @ts-expect-error not even a declared key
  session.typedVisits = 1
  // @ts-expect-error nor read as a property
  session.typedVisits
  // @ts-expect-error the key is the store's to give
  session.sessionKey = 'a'
  // @ts-expect-error text is no expiry
  session.setExpiry('2030-01-01')
  // @ts-expect-error nor is nothing, for which there is null
  session.setExpiry(undefined)
  // @ts-expect-error loading without access is for the plugin
  session.preload()
  // @ts-expect-error so is its part of the session
  session.lifecycle
  // @ts-expect-error nobody but a loaded session has data: load() first
  session.load().get('typedVisits')
}

export const data: Partial<SessionData> = { typedVisits: 1, typedCart: [], typedNote: null }
