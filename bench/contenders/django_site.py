"""A site with the routes of the other contenders, on Django's own sessions."""

import json
import os
from urllib.parse import urlsplit

from django.conf import settings

database = urlsplit(os.environ["DATABASE"])
settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": database.hostname,
            "PORT": database.port,
            "USER": database.username,
            "PASSWORD": database.password,
            "NAME": database.path[1:],
            "CONN_MAX_AGE": None,
        }
    },
    INSTALLED_APPS=["django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="the secret of the benchmarks, of more than 32 characters",
    USE_TZ=True,
)

import django  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

NEW_SESSION = json.loads(os.environ["SESSION_DATA"])


def untouched(request):
    return JsonResponse({"ok": True})


def read(request):
    return JsonResponse({"visits": request.session.get("visits")})


def write(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


def new(request):
    request.session.update(NEW_SESSION)
    return JsonResponse({"visits": 0})


def logout(request):
    request.session.flush()
    return JsonResponse({"ok": True})


urlpatterns = [path(view.__name__, view) for view in (untouched, read, write, new, logout)]

django.setup()
call_command("migrate", verbosity=0)
# The workers are forked after this, and must not share a connection.
connection.close()
application = get_wsgi_application()
