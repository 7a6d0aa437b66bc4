#!/usr/bin/env bash
# Django's own session tests and the HTTP cases of the conformance kit, on SQLite and on
# PostgreSQL; on MariaDB, which the kit's Django does not know, the HTTP cases without
# Django beside us. Needs POSTGRES_URL, MARIADB_URL (mysql://user:password@host:port/name;
# without it, and not in CI, there is nothing on MariaDB), and root for apt unless
# DJANGO_TESTS is set:
# node --import tsx test/fixtures/with-postgres.ts bash test/conformance/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

kit=${CONFORMANCE_KIT:-../shared/conformance}
: "${POSTGRES_URL:?is the server on which scratch databases are made}"
[ -z "${CI:-}" ] || : "${MARIADB_URL:?is the other server on which a scratch database is made}"
# Not through npm, which does not hand its signals on: the server would outlive the run.
worker='node --import tsx test/conformance/worker.ts'
server='node --import tsx test/conformance/server.ts'
# The Django that the kit fetches is Debian's.
python=/usr/bin/python3

work=$(mktemp -d)
suite_database=conformance_suite_$$
http_database=conformance_http_$$

sql() { # URL STATEMENT
  node --input-type=module -e '
    import createKnex from "knex"
    const [url, statement] = process.argv.slice(1)
    const server = createKnex({ client: url.startsWith("mysql:") ? "mysql2" : "pg", connection: url })
    await server.raw(statement)
    await server.destroy()
  ' "$1" "$2"
}

database_url() { # URL DATABASE
  node -p 'Object.assign(new URL(process.argv[1]), { pathname: process.argv[2] }).href' "$1" "$2"
}

clean_up() {
  sql "$POSTGRES_URL" "DROP DATABASE IF EXISTS $suite_database WITH (FORCE)"
  sql "$POSTGRES_URL" "DROP DATABASE IF EXISTS $http_database WITH (FORCE)"
  [ -z "${MARIADB_URL:-}" ] || sql "$MARIADB_URL" "DROP DATABASE IF EXISTS $http_database"
  rm -rf "$work"
}
trap clean_up EXIT

if [ -z "${DJANGO_TESTS:-}" ]; then
  "$kit/fetch_django.sh" "$work/django"
  export DJANGO_TESTS="$work/django/tests/sessions_tests"
fi
sql "$POSTGRES_URL" "CREATE DATABASE $suite_database"
sql "$POSTGRES_URL" "CREATE DATABASE $http_database"

# All of them run. What failed is printed again at the end, without the tests that passed.
failed() { # NAME
  { echo "=== failed: $1"; grep -v '^PASS' "$work/log"; } >>"$work/failures"
}

# Django marks this test as failing with its own engine signed_cookies, which ignores
# set_expiry (its ticket 19201). Ours respects it, and the suite calls that a failure.
better='CookieSessionTests.test_actual_expiry  -- passes, where Django.s own store fails'

suite() { # DATABASE
  "$python" "$kit/run_django_suite.py" --worker "$worker" --db "$1" 2>&1 | tee "$work/log" || true
  if grep -q "^FAIL.*$better" "$work/log" && grep -q '^364 passed, 1 failed' "$work/log"; then
    echo "That failure is the one expected: $better"
  else
    failed "Django's tests on $1"
  fi
}

http() { # DATABASE, OPTION...
  "$python" "$kit/http_cases.py" --server "$server" --db "$1" "${@:2}" 2>&1 | tee "$work/log" || failed "the HTTP cases on $1"
}

peer=(--peer-server "$python $kit/reference_server.py")

suite "sqlite:$work/suite.sqlite3"
suite "$(database_url "$POSTGRES_URL" "$suite_database")"
http "sqlite:$work/http.sqlite3" "${peer[@]}"
http "$(database_url "$POSTGRES_URL" "$http_database")" "${peer[@]}"
if [ -n "${MARIADB_URL:-}" ]; then
  sql "$MARIADB_URL" "CREATE DATABASE $http_database"
  http "$(database_url "$MARIADB_URL" "$http_database")"
fi

[ ! -e "$work/failures" ] || { cat "$work/failures"; exit 1; }
