from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import BaseUserCreationForm
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.urls import reverse

from omegaweb import audit
from omegaweb.accounts.models import ApiKey, Invitation, User
from omegaweb.roles import ADMIN


class _NewUser(BaseUserCreationForm):
    class Meta:
        model = User
        fields = ("username", "email", "role")


@admin.register(User)
class AccountAdmin(UserAdmin):
    """Accounts; the userid is chosen once."""

    add_form = _NewUser
    list_display = ("username", "email", "display_name", "role", "is_active", "last_login")
    list_filter = ("role", "is_active")
    search_fields = ("username", "email", "display_name")
    filter_horizontal = ()
    ordering = ("username",)
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("username", "password", "email", "display_name")}),
        ("Access", {"fields": ("role", "is_active", "is_superuser")}),
        ("Times", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("username", "email", "role", "password1", "password2")}),)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "username") if obj else self.readonly_fields

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, Any, Any]:
        """What would go; who is needed is protected, and of all administrators at once the last ones."""
        objects, count, missing, protected = super().get_deleted_objects(objs, request)
        going = User.objects.filter(pk__in=[user.pk for user in objs])
        administrators = User.objects.filter(role=ADMIN, is_active=True)
        are_all = not administrators.exclude(pk__in=going).exists()
        kept = [str(user) for user in going if user.needed or (are_all and user.role == ADMIN)]
        return objects, count, missing, [*protected, *kept]

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        audit.record("admin.changed", request, object=f"account {obj}")
        return super().log_change(request, obj, message)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        audit.record("admin.added", request, object=f"account {obj}")
        return super().log_addition(request, obj, message)


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """Keys of all accounts: to be looked at; they are made and revoked by their users."""

    list_display = ("user", "name", "prefix", "created", "expires", "last_used", "revoked")
    search_fields = ("user__username", "name")

    def has_add_permission(self, *args: Any) -> bool:
        return False

    has_change_permission = has_add_permission


@admin.register(Invitation)
class InvitationAdmin(admin.ModelAdmin):
    """Invitations: the link is shown once, after one was made. Deleting one takes it back."""

    list_display = ("email", "role", "invited_by", "created", "expires", "used")
    fields = ("email", "role")

    def save_model(self, request: HttpRequest, obj: Invitation, form: Any, change: bool) -> None:
        obj.invited_by = request.user
        link = f"{settings.CONFIGURATION.url}{reverse('signup')}?invitation={obj.issue()}"
        audit.record("invitation.made", request, object=str(obj))
        messages.warning(request, f"Send this link, which is shown only now: {link}")

    def has_change_permission(self, *args: Any) -> bool:
        return False


admin.site.unregister(Group)  # roles say what somebody may
