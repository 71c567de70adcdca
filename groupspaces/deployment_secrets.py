"""The secrets of the deployment: those of the settings, or the ones that a standalone instance keeps in its data folder.

Owns which they are, how they are told apart without being shown, and replacing the one in the folder. How a file with a secret is made is
`secret_file.py`, what is made of secrets `keys.py`.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import msgspec

from groupspaces import secret_file
from groupspaces.errors import SettingsError
from groupspaces.settings import REPLICA_NEEDS, Settings
from groupspaces.settings_checks import SECRET_MIN_CHARS

SECRET_FILE = "secret"  # noqa: S105  (a file name in the data folder)
PREVIOUS_FILE = "secret.previous"  # those before it, which are still honoured

_ROTATE_SETTING = (
    "auth.secret is a setting here, so it is replaced there, without anybody being signed out: first add the new secret to "
    "auth.previous_secrets (AUTH_SECRET_PREVIOUS) of every instance and restart each; then make it auth.secret everywhere, with the old "
    "one in auth.previous_secrets; drop the old one when `groupspaces secret status` says so"
)


def with_secrets(settings: Settings, data_dir: Path) -> Settings:
    """Return the settings with the secrets of a standalone instance filled in. Raises what `ensure_secret` raises."""
    secret = ensure_secret(settings, data_dir)
    previous = settings.auth.previous_secrets
    if not settings.auth.secret:
        previous = (*previous, *_kept_secrets(data_dir))
    others = tuple(dict.fromkeys(one for one in previous if one != secret))
    auth = msgspec.structs.replace(settings.auth, secret=secret, previous_secrets=others)
    return msgspec.structs.replace(settings, auth=auth)


def secret_fingerprint(secret: str) -> str:
    """Return 64 hex digits by which instances compare their secret without showing it."""
    return hmac.new(secret.encode(), b"groupspaces: fingerprint of auth.secret", hashlib.sha256).hexdigest()


def fingerprints(settings: Settings) -> list[str]:
    """Return those of all secrets that count, the newest first."""
    return [secret_fingerprint(secret) for secret in (settings.auth.secret, *settings.auth.previous_secrets)]


def ensure_secret(settings: Settings, data_dir: Path) -> str:
    """Return `auth.secret`; in standalone mode without one, the data folder's own, made at the first call.

    Workers that start together get the same one, and a crash leaves a whole file or none. Raises SettingsError in
    replica mode without a secret, and when the folder or the file cannot be used.
    """
    if settings.auth.secret:
        return settings.auth.secret
    if settings.mode == "replica":
        raise SettingsError(REPLICA_NEEDS)
    path = data_dir / SECRET_FILE
    try:
        secret = secret_file.read_or_create(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}, which holds this instance's secret, cannot be used: {error}") from error
    if len(secret) < SECRET_MIN_CHARS:
        raise SettingsError(
            f"{path}, which holds this instance's secret, is damaged. Restore it from a backup, or delete it: "
            "a new one is made at the next start, and everybody signs in again."
        )
    return secret


def rotate_secret(settings: Settings, data_dir: Path) -> None:
    """Make a new secret for a standalone instance that keeps its own, and keep the one before.

    Raises SettingsError where the secret is a setting, which its operator has to replace, and when the files cannot be used.
    """
    if settings.auth.secret or settings.mode == "replica":
        raise SettingsError(_ROTATE_SETTING)
    ensure_secret(settings, data_dir)
    _kept_secrets(data_dir)
    try:
        secret_file.rotate(data_dir / SECRET_FILE, data_dir / PREVIOUS_FILE)
    except OSError as error:
        raise SettingsError(f"The secret in {data_dir} could not be replaced: {error}") from error


def _kept_secrets(data_dir: Path) -> tuple[str, ...]:
    path = data_dir / PREVIOUS_FILE
    try:
        found = secret_file.read_all(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}, which holds previous secrets, cannot be used: {error}") from error
    if any(len(secret) < SECRET_MIN_CHARS for secret in found):
        raise SettingsError(
            f"{path}, which holds previous secrets, is damaged. Restore it from a backup, or delete it: what only those secrets "
            "opened is lost then (authenticators set up before, and sessions not used since)."
        )
    return found
