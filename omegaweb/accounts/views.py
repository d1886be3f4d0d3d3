"""Sign-up, sign-in and everything that people do with their own account."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from constance import config
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth import views as auth
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from omegaweb import audit, mail, provision
from omegaweb.access import ANYBODY, access
from omegaweb.accounts.forms import ChangePassword, LostPassword, NewKey, Profile, SignIn, SignUp
from omegaweb.accounts.models import ApiKey, Invitation, User
from omegaweb.api.throttling import limited, sender, uncount
from omegaweb.roles import VIEWER


class _SignIn(auth.LoginView):
    template_name = "accounts/login.html"
    authentication_form = SignIn
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs, signup=config.SIGNUP == "open")

    def form_valid(self, form: Any) -> HttpResponse:
        uncount("form", sender(self.request))  # a course of a hundred may sign in behind one address
        return super().form_valid(form)


sign_in = access(ANYBODY)(limited(_SignIn.as_view()))
sign_out = access(ANYBODY)(auth.LogoutView.as_view())


class _PasswordChange(auth.PasswordChangeView):
    form_class = ChangePassword

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "request": self.request}


password_change = access(VIEWER)(
    _PasswordChange.as_view(
        template_name="accounts/password_change.html", success_url=reverse_lazy("account")
    )
)
_address = urlsplit(settings.CONFIGURATION.url)


class _PasswordReset(auth.PasswordResetView):
    """Asks for an address and sends a link there; says what to do instead where no mail is sent."""

    form_class = LostPassword
    template_name = "accounts/password_reset.html"
    email_template_name = "accounts/password_reset_email.txt"
    subject_template_name = "accounts/password_reset_subject.txt"
    success_url = reverse_lazy("password_reset_done")
    # never the address by which the asking request came, which its sender chooses
    extra_email_context = {"protocol": _address.scheme, "domain": _address.netloc}  # noqa: RUF012

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if not mail.is_sent():
            return render(request, "accounts/password_reset_by_admin.html")
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: LostPassword) -> HttpResponse:
        mail.check()  # whether there is such an account or not, of which the answer must tell nothing
        return super().form_valid(form)


class _PasswordResetConfirm(auth.PasswordResetConfirmView):
    """Where the link of the mail leads."""

    template_name = "accounts/password_reset_confirm.html"
    success_url = reverse_lazy("login")

    def form_valid(self, form: Any) -> HttpResponse:
        answer = super().form_valid(form)
        audit.record("password.reset", self.request, userid=self.user.username)
        messages.success(self.request, "The new password is set. Sign in with it.")
        return answer


password_reset = access(ANYBODY)(limited(_PasswordReset.as_view()))
password_reset_done = access(ANYBODY)(
    auth.PasswordResetDoneView.as_view(template_name="accounts/password_reset_done.html")
)
password_reset_confirm = access(ANYBODY)(limited(_PasswordResetConfirm.as_view()))


@access(ANYBODY)
@sensitive_post_parameters()
@never_cache
@limited
def sign_up(request: HttpRequest) -> HttpResponse:
    """Open an account, as far as the setting SIGNUP lets one; the new user is signed in at once."""
    word = request.GET.get("invitation", "")
    invitation = Invitation.open(word) if word else None
    if config.SIGNUP == "closed" or (config.SIGNUP == "invite" and invitation is None):
        return render(
            request, "accounts/signup_closed.html", {"policy": config.SIGNUP, "word": word}, status=403
        )
    initial = {"email": invitation.email} if invitation else None
    form = SignUp(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            with transaction.atomic():
                if invitation is not None:
                    # of two that use it at once, one finds it used
                    if not Invitation.objects.filter(pk=invitation.pk, used=None).update(used=timezone.now()):
                        return redirect("signup")
                    form.instance.role = invitation.role
                user = form.save()
        except IntegrityError:  # somebody else was faster by less than the form was looked at
            form.add_error(None, "The userid or the e-mail was taken just now; choose another.")
        else:
            audit.record("account.opened", request, userid=user.username)
            login(request, user, backend="django.contrib.auth.backends.ModelBackend")
            return redirect("account")
    return render(request, "accounts/signup.html", {"form": form}, status=400 if form.errors else 200)


@access(VIEWER)
@never_cache
def account(request: HttpRequest) -> HttpResponse:
    """One's own account: userid, keys, name and address."""
    profile = Profile(request.POST or None, instance=request.user)
    if request.method == "POST" and profile.is_valid():
        profile.save()
        messages.success(request, "Saved.")
        return redirect("account")
    request.user.refresh_from_db()  # a form that did not pass has changed it
    return _account(request, profile, NewKey(), status=400 if profile.errors else 200)


def _account(
    request: HttpRequest, profile: Profile, new_key: NewKey, status: int = 200, **more: Any
) -> HttpResponse:
    keys = request.user.keys.filter(revoked=None)
    context = {"profile": profile, "new_key": new_key, "keys": keys, **more}
    return render(request, "accounts/account.html", context, status=status)


@access(VIEWER)
@never_cache
@require_POST
def key_create(request: HttpRequest) -> HttpResponse:
    """Make an API key. The answer to this very request is the one place that ever shows it."""
    form = NewKey(request.POST)
    if not form.is_valid():
        return _account(request, Profile(instance=request.user), form, status=400)
    key, text = ApiKey.issue(request.user, form.cleaned_data["name"], form.cleaned_data["expires"])
    audit.record("key.made", request, object=str(key))
    return _account(request, Profile(instance=request.user), NewKey(), issued=key, issued_text=text)


@access(VIEWER)
@require_POST
def key_revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """Revoke one of one's keys. With the last one, what is connected to the services by it ends too."""
    key = get_object_or_404(ApiKey, pk=pk, user=request.user, revoked=None)
    revoke(key)
    audit.record("key.revoked", request, object=str(key))
    messages.success(request, f"The key “{key.name}” is revoked.")
    return redirect("account")


def revoke(key: ApiKey) -> None:
    """Revoke a key; the services' passwords change with the last one.

    Where the services are away nothing is revoked: a key that was could not be revoked again, and what it
    gave access to would stay open. Raises: as `provision.rotate`.
    """
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=key.user_id)  # two last keys go one by one
        key.revoke()
        if not any(other.is_valid for other in user.keys.filter(revoked=None)):
            provision.rotate(user)
