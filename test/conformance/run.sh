#!/usr/bin/env bash
# Django's own session tests and the HTTP cases of the conformance kit, on SQLite and on
# PostgreSQL. Needs POSTGRES_URL, and root for apt unless DJANGO_TESTS is set:
# node --import tsx test/fixtures/with-postgres.ts bash test/conformance/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

kit=${CONFORMANCE_KIT:-../shared/conformance}
: "${POSTGRES_URL:?is the server on which scratch databases are made}"
# Not through npm, which does not hand its signals on: the server would outlive the run.
worker='node --import tsx test/conformance/worker.ts'
server='node --import tsx test/conformance/server.ts'
# The Django that the kit fetches is Debian's.
python=/usr/bin/python3

work=$(mktemp -d)
suite_database=conformance_suite_$$
http_database=conformance_http_$$

sql() {
  node --input-type=module -e '
    import pg from "pg"
    const client = new pg.Client(process.env.POSTGRES_URL)
    await client.connect()
    await client.query(process.argv[1])
    await client.end()
  ' "$1"
}

database_url() {
  node -p 'Object.assign(new URL(process.env.POSTGRES_URL), { pathname: process.argv[1] }).href' "$1"
}

clean_up() {
  sql "DROP DATABASE IF EXISTS $suite_database WITH (FORCE)"
  sql "DROP DATABASE IF EXISTS $http_database WITH (FORCE)"
  rm -rf "$work"
}
trap clean_up EXIT

if [ -z "${DJANGO_TESTS:-}" ]; then
  "$kit/fetch_django.sh" "$work/django"
  export DJANGO_TESTS="$work/django/tests/sessions_tests"
fi
sql "CREATE DATABASE $suite_database"
sql "CREATE DATABASE $http_database"

# All of them run, so that one log shows all that fails.
failed=0
for db in "sqlite:$work/suite.sqlite3" "$(database_url "$suite_database")"; do
  "$python" "$kit/run_django_suite.py" --worker "$worker" --db "$db" || failed=1
done
for db in "sqlite:$work/http.sqlite3" "$(database_url "$http_database")"; do
  "$python" "$kit/http_cases.py" --server "$server" --peer-server "$python $kit/reference_server.py" --db "$db" || failed=1
done
exit "$failed"
