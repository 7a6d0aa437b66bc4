/** Changing and deleting a value. */
import type { FastifyInstance } from 'fastify'
import { html } from '../frame/html.ts'
import { form, sendPage, tell } from '../frame/page.ts'

declare module 'fastify-django-sessions' {
  interface SessionData {
    /** How many of each item. */
    cart_items: Record<string, number>
  }
}

const ITEMS = ['apples', 'bread', 'tea']

export function cart(app: FastifyInstance): void {
  app.get('/cart/', async (request, reply) => {
    const session = await request.session.load()
    const cart = session.get('cart_items', {})
    const rows = ITEMS.map(
      (item) => html`
        <tr>
          <th scope="row">${capitalise(item)}</th>
          <td class="number">${cart[item] ?? 0}</td>
          <td><button name="item" value="${item}" aria-label="Add ${item}">Add</button></td>
        </tr>`
    )
    const main = html`
      <p class="lead">Add something in two tabs at once: the cart keeps both.</p>
      <form method="post" action="/cart/">
        <table>
          <thead><tr><th scope="col">Item</th><th scope="col" class="number">In the cart</th><td></td></tr></thead>
          <tbody>${rows}</tbody>
        </table>
      </form>
      ${session.has('cart_items') ? html`<form method="post" action="/cart/empty/"><button class="quiet">Empty the cart</button></form>` : undefined}`
    return sendPage(reply, { title: 'Cart' }, main)
  })

  const body = form({ item: { enum: ITEMS } })
  app.post<{ Body: { item: string } }>('/cart/', { schema: { body } }, async (request, reply) => {
    const { item } = request.body
    // Writing needs no load().
    request.session.set('cart_items', (cart = {}) => ({ ...cart, [item]: (cart[item] ?? 0) + 1 }))
    tell(request.session, `Added: ${item}.`)
    return reply.redirect('/cart/', 303)
  })

  app.post('/cart/empty/', async (request, reply) => {
    request.session.delete('cart_items')
    tell(request.session, 'Your cart is empty.')
    return reply.redirect('/cart/', 303)
  })
}

function capitalise(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1)
}
