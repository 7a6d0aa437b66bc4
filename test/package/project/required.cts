/** The same with `import … = require()`, whose result is the module and not the plugin. */
import Fastify = require('fastify')
import sessions = require('fastify-django-sessions')

const app = Fastify.default()
app.register(sessions.default, { secretKey: 'secret', engine: 'cache', cache: new sessions.MemoryCache() })
app.ready().then(() => app.close())
