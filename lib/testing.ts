/**
 * The entry `fastify-django-sessions/testing`: cookies for tests of an application, and the
 * contract for tests of an engine. It needs no particular test runner:
 *
 *     for (const { name, run } of engineContract) test(name, () => run(createEngine))
 */
export { loginCookie, type SessionsApp, sessionCookie, type TestData } from './testing/cookies.js'
export { type ContractCase, type CreateEngine, engineContract } from './testing/engine-contract.js'
