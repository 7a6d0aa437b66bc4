"""A Django site in one file: sign in, sign out, and a page that counts visits. Started by service.ts."""
import os
import sys

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=['127.0.0.1', 'localhost'],
    DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': os.environ['DATABASE_FILE']}},
    DEFAULT_AUTO_FIELD='django.db.models.BigAutoField',
    INSTALLED_APPS=['django.contrib.auth', 'django.contrib.contenttypes', 'django.contrib.sessions'],
    LOGIN_REDIRECT_URL='/',
    LOGOUT_REDIRECT_URL='/',
    MIDDLEWARE=[
        'django.contrib.sessions.middleware.SessionMiddleware',
        'django.contrib.auth.middleware.AuthenticationMiddleware',
        'django.middleware.csrf.CsrfViewMiddleware',
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ['SECRET_KEY'],
    SESSION_SERIALIZER='django.contrib.sessions.serializers.JSONSerializer',
    TEMPLATES=[{'BACKEND': 'django.template.backends.django.DjangoTemplates'}],
    USE_TZ=True,
)
django.setup()

from django.contrib.auth import get_user_model, views  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.template import engines  # noqa: E402
from django.urls import path  # noqa: E402

HOME = """<!doctype html><title>Django</title><h1>A page of Django</h1>
<p>You are {{ user.username|default:"nobody" }}, and have visited {{ visits }} pages.</p>
<p><a href="/account/">A page of Fastify</a></p>
{% if user.is_authenticated %}<form method="post" action="/logout/">{% csrf_token %}<button>Sign out</button></form>
{% else %}<a href="/login/">Sign in</a> as ada, with the password lovelace{% endif %}"""
LOGIN = """<!doctype html><title>Sign in</title><form method="post">{% csrf_token %}{{ form.as_p }}<button>Sign in</button></form>"""


def render(request, text, **context):
    return HttpResponse(engines['django'].from_string(text).render({'user': request.user, **context}, request))


def home(request):
    request.session['visits'] = request.session.get('visits', 0) + 1
    return render(request, HOME, visits=request.session['visits'])


class Login(views.LoginView):
    def render_to_response(self, context, **_):
        return render(self.request, LOGIN, **context)


urlpatterns = [path('', home), path('login/', Login.as_view()), path('logout/', views.LogoutView.as_view())]

if __name__ == '__main__':
    call_command('migrate', verbosity=0)
    if not get_user_model().objects.filter(username='ada').exists():
        get_user_model().objects.create_user('ada', password='lovelace')
    call_command('runserver', sys.argv[1], use_reloader=False)
