/**
 * A real Django and this package, side by side. Not part of `npm test`, since it needs Django:
 * `npm run unit -- test/live/run.ts`.
 * PYTHON names the interpreter that has Django, its database drivers, and redis (for Django 3.2 also django-redis);
 * NGINX the proxy; ALLAUTH the folder with django-allauth and its Django, as .ci/run fetches it.
 */
import t from 'tap'
import './sessions.ts'
import './logins.ts'
import './cached-db.ts'
import './moving.ts'
import './user-sessions.ts'
import './example.ts'

// Many an interpreter is started.
t.setTimeout(600_000)
