"""Forms of the account pages."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.contrib.auth.forms import (
    AuthenticationForm,
    BaseUserCreationForm,
    PasswordChangeForm,
    PasswordResetForm,
)
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.utils import timezone

from omegaweb import mail
from omegaweb.accounts.models import User
from omegaweb.api.throttling import counted


class SignIn(AuthenticationForm):
    """Userid and password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].widget.attrs.update(
            autocomplete="username", autocapitalize="none", spellcheck="false"
        )


class ChangePassword(PasswordChangeForm):
    """A new password; wrong ones for the current one are counted as those at the sign-in are."""

    def __init__(self, *args: Any, request: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request = request

    def clean_old_password(self) -> str:
        old = str(self.cleaned_data["old_password"])
        if not authenticate(self._request, username=self.user.get_username(), password=old):
            raise forms.ValidationError(self.error_messages["password_incorrect"], code="password_incorrect")
        return old


class LostPassword(PasswordResetForm):
    """The address of an account; whether it is one, nobody is told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].label = "E-mail"

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()  # as accounts have it; MySQL compares exactly

    def send_mail(
        self,
        subject_template_name: str,
        email_template_name: str,
        context: dict[str, Any],
        from_email: str | None,
        to_email: str,
        html_email_template_name: str | None = None,
    ) -> None:
        """Send the link, to one address once a minute: others could fill it."""
        if counted("letter", to_email):
            subject = render_to_string(subject_template_name, context).strip()
            body = render_to_string(email_template_name, context)
            mail.post(EmailMessage(subject, body, from_email, [to_email]))


class SignUp(BaseUserCreationForm):
    """A new account: userid, e-mail (for a lost password), password twice."""

    class Meta:
        model = User
        fields = ("username", "email", "display_name")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].widget.attrs.update(
            autocapitalize="none", spellcheck="false", pattern="[a-z][a-z0-9_]{2,30}", autocomplete="username"
        )
        self.fields["email"].widget.attrs["autocomplete"] = "email"
        self.fields["display_name"].label = "Name (optional)"
        self.fields["display_name"].widget.attrs["autocomplete"] = "name"


class Profile(forms.ModelForm):
    """What may be changed of an account."""

    class Meta:
        model = User
        fields = ("display_name", "email")


class NewKey(forms.Form):
    """An API key: what it is for, and until when."""

    name = forms.CharField(
        max_length=60, label="What is it for?", widget=forms.TextInput(attrs={"placeholder": "laptop"})
    )
    expires = forms.DateField(
        required=False, label="Last day (optional)", widget=forms.DateInput(attrs={"type": "date"})
    )

    def clean_expires(self) -> datetime | None:
        day = self.cleaned_data["expires"]
        if day is None:
            return None
        if day < timezone.now().date():
            raise forms.ValidationError("That day is over.")
        return datetime.combine(day, time.max, tzinfo=timezone.get_current_timezone())
