/** Creates the table of django.contrib.sessions as Django does (its migration 0001_initial), or leaves alone the one that is there. */
import { migrationOf } from './shared/django-table.js'

const TABLE = 'django_session'

/**
 * The migration for a table of another name, which may have its schema before a dot.
 *
 * @param {string} table
 */
export function migrationFor(table) {
  return migrationOf({
    table,
    model: TABLE,
    app: 'sessions',
    purpose: "Django's sessions",
    columns: ['session_key', 'session_data', 'expire_date'],
    definition: {
      pg: '"session_key" varchar(40) NOT NULL PRIMARY KEY, "session_data" text NOT NULL, "expire_date" timestamp with time zone NOT NULL',
      'better-sqlite3': '"session_key" varchar(40) NOT NULL PRIMARY KEY, "session_data" text NOT NULL, "expire_date" datetime NOT NULL',
      mysql2: 'session_key varchar(40) NOT NULL PRIMARY KEY, session_data longtext NOT NULL, expire_date datetime(6) NOT NULL'
    },
    texts: ['session_key'],
    indexed: ['expire_date']
  })
}

export const { up, down } = migrationFor(TABLE)
