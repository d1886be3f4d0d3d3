"""Small secrets in the database, readable only with the keys of the configuration."""

from __future__ import annotations

from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from omegaml.errors import ConfigInvalid


@cache
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def _keys() -> MultiFernet:
    return _fernet(tuple(settings.CONFIGURATION.encryption_keys))


def seal(text: str) -> bytes:
    return _keys().encrypt(text.encode())


def unseal(data: bytes) -> str:
    """Raises ConfigInvalid where none of the keys is the one it was sealed with."""
    try:
        return _keys().decrypt(bytes(data)).decode()
    except InvalidToken:
        raise ConfigInvalid(
            "a stored password cannot be read with these encryption_keys",
            hint="put the key back that it was stored with, or `manage.py provision --all --rotate`",
        ) from None
