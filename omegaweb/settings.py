"""Django's settings, all of which follow from `omegaweb.configuration`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from omegaweb import configuration

CONFIGURATION = configuration.load()
if CONFIGURATION.database.startswith("mysql"):
    import pymysql

    pymysql.install_as_MySQLdb()
BASE_DIR = Path(__file__).parent
_address = urlsplit(CONFIGURATION.url)
_over_tls = _address.scheme == "https"

DEBUG = False
SECRET_KEY = CONFIGURATION.secret_key
DATABASES = CONFIGURATION.databases()
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ALLOWED_HOSTS = [*filter(None, [_address.hostname]), *CONFIGURATION.hosts]
if CONFIGURATION.is_local:
    ALLOWED_HOSTS += ["localhost", "127.0.0.1", "[::1]"]
ROOT_URLCONF = "omegaweb.urls"
WSGI_APPLICATION = "omegaweb.wsgi.application"
FIXTURE_DIRS = [BASE_DIR / "fixtures"]
USE_TZ = True
TIME_ZONE = "UTC"

INSTALLED_APPS = [
    "omegaweb.accounts",  # before auth, whose createsuperuser it extends
    "omegaweb.dashboard",  # before constance, whose page it extends
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "constance",
    "axes",
    "rest_framework",
    "drf_spectacular",
    "omegaweb.audit",
    "omegaweb.sharing",
    "omegaweb.workers",
]

MIDDLEWARE = [
    "omegaweb.requests.RequestId",
    "omegaweb.metrics.InternalPort",
    "omegaweb.metrics.Measured",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "omegaweb.requests.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    # before anything reads the form, as looking for its token does
    "omegaweb.access.LoginRequired",
    "omegaweb.dashboard.sizes.FormSize",
    "django.middleware.csrf.CsrfViewMiddleware",
    "omegaweb.dashboard.steps.Noticed",
    "omegaweb.dashboard.errors.ErrorPages",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "omegaweb.dashboard.context.platform",
            ]
        },
    }
]

# accounts

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
_validators = "django.contrib.auth.password_validation"
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": f"{_validators}.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("username", "email")},
    },
    {"NAME": f"{_validators}.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": f"{_validators}.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"
# by name and address together: five wrong guesses at one account must lock out nobody else behind a proxy
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25  # hours
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_TEMPLATE = "accounts/locked.html"
AXES_IPWARE_PROXY_COUNT = CONFIGURATION.proxies
AXES_CLIENT_IP_CALLABLE = "omegaweb.requests.network"
AXES_VERBOSE = False

# mail

EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if CONFIGURATION.mail_host else 'dummy'}.EmailBackend"
EMAIL_HOST, EMAIL_PORT = CONFIGURATION.mail_host, CONFIGURATION.mail_port
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = CONFIGURATION.mail_user, CONFIGURATION.mail_password
EMAIL_USE_TLS, EMAIL_USE_SSL = CONFIGURATION.mail_tls == "starttls", CONFIGURATION.mail_tls == "tls"
EMAIL_TIMEOUT = 5  # seconds
DEFAULT_FROM_EMAIL = SERVER_EMAIL = CONFIGURATION.mail_from

# cookies and transport

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _over_tls
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_NAME = f"omega_session_{_address.port or ''}".rstrip("_")  # two platforms may share a host
CSRF_TRUSTED_ORIGINS = [CONFIGURATION.url]
CSRF_FAILURE_VIEW = "omegaweb.dashboard.errors.form_too_old"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if CONFIGURATION.proxies:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "static"
WHITENOISE_USE_FINDERS = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

# what an administrator changes while it runs

CONSTANCE_SUPERUSER_ONLY = False  # the role administrator decides (accounts.models.User.has_perm)
CONSTANCE_BACKEND = "constance.backends.database.DatabaseBackend"


def _named(name: str, widget: str = "TextInput") -> dict[str, Any]:
    """A widget that tells its name to who does not see the page: constance has no labels."""
    return {"widget": f"django.forms.{widget}", "widget_kwargs": {"attrs": {"aria-label": name}}}


CONSTANCE_ADDITIONAL_FIELDS = {
    "broker_url": ["omegaweb.accounts.fields.BrokerUrlField", {"required": False, **_named("BROKER_URL")}],
    "host": ["omegaweb.accounts.fields.HostField", _named("MONGO_HOST")],
    "signup": [
        "django.forms.fields.ChoiceField",
        {
            "choices": [("open", "open"), ("invite", "by invitation"), ("closed", "closed")],
            **_named("SIGNUP", "Select"),
        },
    ],
}
CONSTANCE_CONFIG = {
    "BROKER_URL": (
        CONFIGURATION.broker_url,
        "The message broker as clients reach it: amqp://public-host:port/vhost. Empty: there is none.",
        "broker_url",
    ),
    "MONGO_HOST": (CONFIGURATION.mongo_host, "MongoDB as clients reach it: public-host:port.", "host"),
    "SIGNUP": (CONFIGURATION.signup_policy, "Who may open an account.", "signup"),
}
CONSTANCE_CONFIG_FIELDSETS = {
    "Addresses that clients are given": ("BROKER_URL", "MONGO_HOST"),
    "Accounts": ("SIGNUP",),
}

# REST

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "omegaweb.api.authentication.ApiKeyAuthentication",
        "omegaweb.api.authentication.SameOriginSession",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["omegaweb.api.permissions.Nobody"],  # each view says who may
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["omegaweb.api.parsing.Json"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "omegaweb.api.negotiation.Negotiation",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "omegaweb.api.errors.answer",
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_THROTTLE_CLASSES": ["omegaweb.api.throttling.PerAccount", "omegaweb.api.throttling.PerAddress"],
}
# of each caller: Django's own 300 places would not hold those of a busy minute
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 50_000},
    }
}
# refused: what one address or account is refused goes into the audit log no more often than so, and
# refusals: what all strangers together are, and all accounts; form: what one address sends to each page
# that knows nobody yet; letter: mail to one address, and notice: about the jobs of one account
CALLS_PER_MINUTE = {
    "account": 6000,
    "address": 120,
    "refused": 120,
    "refusals": 600,
    "form": 60,
    "letter": 1,
    "notice": 2,
}
# bodies that are stored: JSON has to be held in memory, all else is read in parts from a file
OMEGA_JSON_BYTES = 32 << 20
OMEGA_BODY_BYTES = 4 << 30
SPECTACULAR_SETTINGS = {
    "TITLE": "omega|ml",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["omegaweb.api.permissions.Viewer"],
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "omegaweb.requests.JsonLines"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {"django.server": {"handlers": ["console"], "propagate": False}},
}
