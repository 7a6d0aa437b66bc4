"""A Django site: its own pages for signing in and out and for a new password, and one that counts visits.

DJANGO_SETTINGS has, as JSON, the settings in which sites differ. With HAS_ALLAUTH among them, users also sign in
through django-allauth, and see and end their sessions by its usersessions. Once the site listens it prints its port; it
ends when its standard input does.
"""
import json
import os
import sys
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher


class QuickPasswordHasher(PBKDF2PasswordHasher):
    iterations = 1000


own_settings = json.loads(os.environ['DJANGO_SETTINGS'])
has_allauth = own_settings.pop('HAS_ALLAUTH', False)
ALLAUTH_APPS = ['django.contrib.sites', 'django.contrib.humanize', 'allauth', 'allauth.account', 'allauth.usersessions']

settings.configure(
    **own_settings,
    ALLOWED_HOSTS=['127.0.0.1'],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        'django.contrib.contenttypes', 'django.contrib.auth', 'django.contrib.sessions', *(ALLAUTH_APPS if has_allauth else [])
    ],
    SITE_ID=1,
    ACCOUNT_RATE_LIMITS=False,
    ACCOUNT_EMAIL_VERIFICATION='none',
    MIDDLEWARE=[
        'django.contrib.sessions.middleware.SessionMiddleware',
        'django.middleware.csrf.CsrfViewMiddleware',
        'django.contrib.auth.middleware.AuthenticationMiddleware',
        *(['allauth.account.middleware.AccountMiddleware'] if has_allauth else []),
    ],
    TEMPLATES=[{
        'BACKEND': 'django.template.backends.django.DjangoTemplates',
        'OPTIONS': {'loaders': [('django.template.loaders.locmem.Loader', dict.fromkeys(
            # That of django-allauth has a name of its own.
            ['form.html', 'account/login.html'], '<form method="post">{% csrf_token %}{{ form }}</form>'
        ))]},
    }],
    PASSWORD_HASHERS=[f'{__name__}.QuickPasswordHasher'],
    DEFAULT_AUTO_FIELD='django.db.models.AutoField',
    USE_TZ=True,
    # What fails is said on the standard error output, and answered with 500.
    DEBUG_PROPAGATE_EXCEPTIONS=True,
)
django.setup()

from django.contrib.auth import views  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.auth.tokens import default_token_generator  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import include, path  # noqa: E402


def who(request):
    return JsonResponse({'user': request.user.get_username() or None, 'visits': request.session.get('visits', 0)})


def visit(request):
    request.session['visits'] = request.session.get('visits', 0) + 1
    return who(request)


def reset_token(request):
    """What a mail with a link to a new password contains."""
    return JsonResponse({'token': default_token_generator.make_token(User.objects.get(username=request.GET['username']))})


def is_reset_token(request):
    user = User.objects.get(username=request.GET['username'])
    return JsonResponse({'isValid': default_token_generator.check_token(user, request.GET['token'])})


urlpatterns = [
    path('reset-token/', reset_token),
    path('reset-token/check/', is_reset_token),
    path('who/', who),
    path('visit/', visit),
    path('login/', views.LoginView.as_view(template_name='form.html')),
    path('logout/', views.LogoutView.as_view(next_page='/who/')),
    path('password/', views.PasswordChangeView.as_view(template_name='form.html', success_url='/who/')),
]


if has_allauth:
    from allauth.usersessions.internal.flows.sessions import end_sessions
    from allauth.usersessions.models import UserSession

    def list_sessions(request):
        found = UserSession.objects.purge_and_list(request.user)
        return JsonResponse({'sessions': [
            {'id': session.id, 'userAgent': session.user_agent, 'ip': session.ip, 'isCurrent': session.is_current()} for session in found
        ]})

    def end_session(request, pk):
        end_sessions(request, list(UserSession.objects.filter(user=request.user, pk=pk)))
        return JsonResponse({})

    urlpatterns += [
        path('sessions/', list_sessions),
        path('sessions/end/<int:pk>/', end_session),
        path('accounts/', include('allauth.account.urls')),
    ]


def create_users(**passwords):
    for username, password in passwords.items():
        if not User.objects.filter(username=username).exists():
            User.objects.create_user(username, password=password)


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *args):
        pass


def main():
    call_command('migrate', fake_initial=True, verbosity=0)
    call_command('createcachetable', verbosity=0)
    create_users(ada='lovelace', grace='hopper', edsger='dijkstra')
    server = make_server('127.0.0.1', 0, get_wsgi_application(), handler_class=QuietHandler)

    def end_with_input():
        sys.stdin.read()
        server.shutdown()

    threading.Thread(target=end_with_input, daemon=True).start()
    print(server.server_port, flush=True)
    server.serve_forever()


main()
