"""A real Django on the database and the secret key that the environment names.

Usage: django_peer.py COMMAND [JSON of its arguments]; the answer is JSON.
Values are answered as repr(), which tells 1 from 1.0 and from True.
"""
import io
import json
import os
import sys

import django
from django.conf import settings

settings.configure(
    DATABASES={'default': json.loads(os.environ['DJANGO_DATABASE'])},
    SECRET_KEY=os.environ['DJANGO_SECRET_KEY'],
    INSTALLED_APPS=['django.contrib.contenttypes', 'django.contrib.auth', 'django.contrib.sessions'],
    PASSWORD_HASHERS=['django.contrib.auth.hashers.MD5PasswordHasher'],
    # The default before Django 4.1 is JSON too, but is said to be sure.
    SESSION_SERIALIZER='django.contrib.sessions.serializers.JSONSerializer',
    DEFAULT_AUTO_FIELD='django.db.models.AutoField',
    USE_TZ=True,
    TIME_ZONE='Europe/Berlin',
)
django.setup()

from django.contrib.auth import authenticate, get_user, login  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.contrib.sessions.models import Session  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.migrations.recorder import MigrationRecorder  # noqa: E402
from django.test import RequestFactory  # noqa: E402
from django.utils import timezone  # noqa: E402

# What is lost by a reader that knows only doubles, or that writes JSON in its own way.
VALUES = {
    'visits': 1,
    'big': 2**63,
    'huge': -(10**30),
    'float': 1.0,
    'small': 1e-7,
    'exponent': 1e22,
    'negative zero': -0.0,
    'nan': float('nan'),
    'infinite': [float('inf'), float('-inf')],
    'emoji': '😀 \u2028 \x00 " \\ é',
    'nested': [[1, [2.0, [None, True, {'': [], '__proto__': {}}]]], 'ü'],
    '10': 'ten',
    '9': 'nine',
    'constructor': False,
}


def request_with(session):
    request = RequestFactory().get('/')
    request.session = session
    return request


def migrate(fake_initial=False):
    call_command('migrate', fake_initial=fake_initial, verbosity=0)
    return [name for app, name in MigrationRecorder(connection).applied_migrations() if app == 'sessions']


def inspect():
    """The table as Django reads it from the database."""
    model = io.StringIO()
    call_command('inspectdb', 'django_session', stdout=model)
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, 'django_session')
    # Since 4.2 Django reads the table's comment too, by which our migration knows its own table.
    lines = [line for line in model.getvalue().splitlines() if 'db_table_comment' not in line]
    return {'model': lines, 'constraints': constraints}


def sign_in():
    """A visitor signs in, and gets values of all kinds."""
    User.objects.create_user('ada', password='lovelace')
    session = SessionStore()
    request = request_with(session)
    login(request, authenticate(request, username='ada', password='lovelace'))
    session.update(VALUES)
    session.save()
    return read(session.session_key)


def change(session_key, name, value):
    session = SessionStore(session_key)
    session[name] = value
    session.save()
    return read(session_key)


def read(session_key):
    session = SessionStore(session_key)
    row = Session.objects.filter(pk=session_key).first()
    return {
        'sessionKey': session_key,
        'exists': row is not None,
        'user': get_user(request_with(session)).username,
        'expiryAge': session.get_expiry_age(),
        'expireDate': row and row.expire_date.isoformat(),
        'values': [[name, repr(value)] for name, value in session.items()],
    }


def create(seconds):
    """A session that ends so many seconds from now."""
    session = SessionStore()
    session['made by'] = 'Django'
    session.save()
    expire_date = timezone.now() + timezone.timedelta(seconds=seconds)
    Session.objects.filter(pk=session.session_key).update(expire_date=expire_date)
    return session.session_key


def clear_sessions():
    call_command('clearsessions')


COMMANDS = {command.__name__: command for command in (migrate, inspect, sign_in, change, read, create, clear_sessions)}
arguments = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
print(json.dumps(COMMANDS[sys.argv[1]](**arguments)))
