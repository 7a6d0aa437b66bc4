/** Makes assignments to a session throw, in sloppy mode too. In other plugins `session.user = …` writes the data. */

/** Makes every assignment to an instance of a class throw, except to properties with a setter. */
export function refuseAssignments({ prototype }: { prototype: object }): void {
  for (const [name, { get, set }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    if (get !== undefined && set === undefined) Object.defineProperty(prototype, name, { set: () => refuse(name) })
  }
  // A promise that resolves with a session looks for `then`, which the proxy would be asked for each time.
  Object.defineProperty(prototype, 'then', { get: () => undefined, set: () => refuse('then') })
  // A proxy behind the prototype is reached only by names that neither the object nor its class has, so that it
  // costs nothing otherwise. Object.preventExtensions() would fail silently in sloppy mode.
  Object.setPrototypeOf(prototype, new Proxy(Object.prototype, { set: (_target, name) => refuse(String(name)) }))
  Object.freeze(prototype)
}

function refuse(name: string): never {
  // The name that @fastify/csrf-protection assigns in the mode for @fastify/session.
  const hint = name === '_csrf' ? ", or give @fastify/csrf-protection the option sessionPlugin: '@fastify/secure-session'" : ''
  throw new TypeError(`session.${name} cannot be assigned: use session.set(${JSON.stringify(name)}, value)${hint}`)
}
