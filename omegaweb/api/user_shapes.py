"""What the routes of accounts and of the own settings answer, as the OpenAPI document tells it."""

from __future__ import annotations

from rest_framework import serializers

from omegaweb.api.shapes import PageMeta


class Account(serializers.Serializer):
    userid = serializers.CharField()
    email = serializers.EmailField(allow_null=True)
    name = serializers.CharField(allow_blank=True)
    role = serializers.CharField()
    enabled = serializers.BooleanField()
    joined = serializers.DateTimeField()
    last_login = serializers.DateTimeField(allow_null=True)
    resource_uri = serializers.CharField()


class AccountList(serializers.Serializer):
    meta = PageMeta()
    objects = Account(many=True)


class Key(serializers.Serializer):
    """A key, of which only the beginning is known."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    prefix = serializers.CharField()
    created = serializers.DateTimeField()
    expires = serializers.DateTimeField(allow_null=True)
    last_used = serializers.DateTimeField(allow_null=True)
    resource_uri = serializers.CharField()


class KeyList(serializers.Serializer):
    meta = PageMeta()
    objects = Key(many=True)


class IssuedKey(Key):
    """A key that was just made: its text is shown this once."""

    key = serializers.CharField()


class ClientSettings(serializers.Serializer):
    OMEGA_USERID = serializers.CharField()
    OMEGA_RESTAPI_URL = serializers.CharField()
    OMEGA_MONGO_URL = serializers.CharField()
    OMEGA_BROKER = serializers.CharField(allow_null=True)
    OMEGA_RUNTIME = serializers.CharField(
        required=False, help_text="celery where workers carry out the tasks; else left out."
    )
    OMEGA_MONGO_COLLECTION = serializers.CharField()
    OMEGA_CELERY_CONFIG = serializers.JSONField(allow_null=True)


class ClientSettingsObject(serializers.Serializer):
    data = ClientSettings()
    resource_uri = serializers.CharField()


class SettingsMeta(PageMeta):
    """`mail`: where letters to the account go; null where none can be sent."""

    mail = serializers.EmailField(allow_null=True)


class ClientSettingsList(serializers.Serializer):
    meta = SettingsMeta()
    objects = ClientSettingsObject(many=True)
