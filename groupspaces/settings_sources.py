"""Where the value of a setting comes from: command line, environment, names of the deployment guide, `config.toml`.

Owns the names of environment variables and the order in which they win, reads `*_FILE` variables, and collects every
problem instead of stopping at the first. It never judges a value: types and ranges are `settings.py`'s.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

ENVIRONMENT_PREFIX = "GROUPSPACES__"
CONFIG_PATH_VARIABLE = "GROUPSPACES_CONFIG"
SECRET_FILE_MAX_BYTES = 65_536

# The deployment guide's own names. Several names of one setting must not disagree.
ALIASES: dict[str, tuple[str, ...]] = {
    "server.host": ("HOST",),
    "server.port": ("PORT",),
    "server.public_url": ("APP_URL", "NEXT_PUBLIC_APP_URL", "NEXTAUTH_URL"),
    "server.environment": ("NODE_ENV",),
    "primary.url": ("TURSO_CONNECTION_URL",),
    "primary.token": ("TURSO_AUTH_TOKEN",),
    "replica.url": ("TURSO_REPLICA_URL",),
    "replica.token": ("TURSO_REPLICA_TOKEN",),
    "auth.secret": ("AUTH_SECRET", "BETTER_AUTH_SECRET", "NEXTAUTH_SECRET"),
    "auth.previous_secrets": ("AUTH_SECRET_PREVIOUS",),
    "oauth.google_client_id": ("GOOGLE_CLIENT_ID",),
    "oauth.google_client_secret": ("GOOGLE_CLIENT_SECRET",),
    "oauth.github_client_id": ("GITHUB_CLIENT_ID",),
    "oauth.github_client_secret": ("GITHUB_CLIENT_SECRET",),
    "oauth.oidc_issuer": ("OIDC_ISSUER",),
    "oauth.oidc_client_id": ("OIDC_CLIENT_ID",),
    "oauth.oidc_client_secret": ("OIDC_CLIENT_SECRET",),
    "limits.redis_url": ("REDIS_URL",),
    "mail.host": ("EMAIL_SERVER_HOST",),
    "mail.port": ("EMAIL_SERVER_PORT",),
    "mail.user": ("EMAIL_SERVER_USER",),
    "mail.password": ("EMAIL_SERVER_PASSWORD",),
    "files.s3_bucket": ("AWS_S3_BUCKET",),
    "files.s3_region": ("AWS_REGION",),
    "files.s3_access_key": ("AWS_ACCESS_KEY_ID",),
    "files.s3_secret_key": ("AWS_SECRET_ACCESS_KEY",),
    "backup.passphrase": ("BACKUP_PASSPHRASE",),
    "analytics.google_id": ("NEXT_PUBLIC_GOOGLE_ANALYTICS_ID",),
    "sentry.dsn": ("SENTRY_DSN", "NEXT_PUBLIC_SENTRY_DSN"),
}

# The guide's other names. They stop nothing, because shells, containers and backup scripts set them for their own use.
REPLACED: dict[str, str] = {
    "NEXT_TELEMETRY_DISABLED": "not needed: nothing is ever reported to anybody",
    "HOSTNAME": "not used, because every shell and container sets it; HOST names the address to listen on",
    "BACKUP_DIR": "not used: backups lie in the folder `backups` of data.dir",
    "RETENTION_DAYS": "not used: backup.daily, weekly and monthly say how many backups are kept",
    "DB_NAME": "not used: primary.url (TURSO_CONNECTION_URL) names the database",
    "APP_DIR": "not used: data.dir names the only folder that is written to",
    "LOG_FILE": "not used: the log goes to standard output",
}
# Set everywhere, so worth a word only with the value that the guide's Dockerfile gives them.
ONLY_WITH_VALUE = {"HOSTNAME": "0.0.0.0"}


class Given(msgspec.Struct, frozen=True):
    """A value as it was found: text from outside, or what TOML made of it."""

    raw: Any
    source: str
    is_text: bool


class Sources:
    """All places that can hold settings, read once. `problems` and `notes` fill as values are asked for."""

    def __init__(
        self,
        environ: Mapping[str, str],
        config_path: Path | None,
        overrides: Mapping[str, str],
        *,
        keys: Collection[str],
        secret_keys: Collection[str],
    ) -> None:
        self.problems: list[str] = []
        self._environ = environ
        self._overrides = overrides
        self._keys = keys
        self._secret_keys = secret_keys
        self._variables = {_variable(key): key for key in keys}
        self.path = config_path or _default_path(environ)
        self._file = self._read_file()
        self._refuse_unknown_names()

    def given(self, key: str, same: Callable[[str], str] = str) -> Given | None:
        """Return the value that wins for `key`, or None. `same` brings spellings of one value to one form."""
        if key in self._overrides:
            return Given(self._overrides[key], "command line", is_text=True)
        own = self._from_variable(_variable(key), key)
        if own is not None:
            return own
        alias = self._from_aliases(key, same)
        if alias is not None:
            return alias
        if key in self._file:
            return Given(self._file[key], self.path.name if self.path else "", is_text=False)
        return None

    def notes(self) -> list[str]:
        """Say which of the guide's names, and which near misses of ours, are set and do nothing."""
        notes = [
            f"{name} is {advice}"
            for name, advice in REPLACED.items()
            if self._environ.get(name)
            and self._environ[name] == ONLY_WITH_VALUE.get(name, self._environ[name])
        ]
        # Not an error: Kubernetes sets GROUPSPACES_SERVER_PORT in every pod beside a service of that name.
        misspelt = {variable.replace("__", "_"): variable for variable in self._variables}
        notes += [
            f"{name} is not used; did you mean {misspelt[name]}?"
            for name in sorted(self._environ)
            if name in misspelt
        ]
        return notes

    def _from_variable(self, name: str, key: str) -> Given | None:
        """Read one environment variable or, for a secret, the file that `<name>_FILE` points to. Empty means unset."""
        value = self._environ.get(name, "")
        file_name = f"{name}_FILE"
        path = self._environ.get(file_name, "") if key in self._secret_keys else ""
        if value and path:
            self.problems.append(f"{key}: {name} and {file_name} are both set; keep one")
            return None
        if path:
            return self._from_secret_file(key, file_name, Path(path))
        return Given(value, name, is_text=True) if value else None

    def _from_secret_file(self, key: str, variable: str, path: Path) -> Given | None:
        try:
            with path.open("rb") as file:
                content = file.read(SECRET_FILE_MAX_BYTES).decode().strip()
        except OSError as error:
            self.problems.append(f"{key}: {path} (from {variable}) cannot be read: {error.strerror}")
            return None
        except UnicodeDecodeError:
            self.problems.append(f"{key}: {path} (from {variable}) is not UTF-8 text")
            return None
        if not content:
            self.problems.append(f"{key}: {path} (from {variable}) is empty")
            return None
        return Given(content, f"{variable} ({path})", is_text=True)

    def _from_aliases(self, key: str, same: Callable[[str], str]) -> Given | None:
        found = [
            given for name in ALIASES.get(key, ()) if (given := self._from_variable(name, key)) is not None
        ]
        if len({same(given.raw) for given in found}) > 1:
            names = " and ".join(given.source for given in found)
            self.problems.append(f"{key}: {names} are set to different values; keep one")
        return found[0] if found else None

    def _read_file(self) -> dict[str, Any]:
        """Flatten the file's tables to `section.key`. A file that was named must exist."""
        if self.path is None:
            return {}
        try:
            tables = tomllib.loads(self.path.read_text(encoding="utf-8"))
        except OSError as error:
            self.problems.append(f"{self.path} cannot be read: {error.strerror}")
            return {}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            self.problems.append(f"{self.path} is not valid TOML: {error}")
            return {}
        flat: dict[str, Any] = {}
        for section, table in tables.items():
            if isinstance(table, dict):
                flat |= {f"{section}.{key}": value for key, value in table.items()}
            else:
                self.problems.append(f"{section} in {self.path} stands outside of a [section]")
        return flat

    def _refuse_unknown_names(self) -> None:
        for key in self._file:
            if key not in self._keys:
                self.problems.append(f"{key} in {self.path} is not a setting{_suggestion(key, self._keys)}")
        secret_files = {f"{_variable(key)}_FILE" for key in self._secret_keys}
        known = [*self._variables, *secret_files]
        for name in sorted(self._environ):
            if name.startswith(ENVIRONMENT_PREFIX) and name not in known:
                self.problems.append(f"{name} (environment) is not a setting{_suggestion(name, known)}")


def _variable(key: str) -> str:
    return ENVIRONMENT_PREFIX + key.upper().replace(".", "__")


def _default_path(environ: Mapping[str, str]) -> Path | None:
    named = environ.get(CONFIG_PATH_VARIABLE)
    if named:
        return Path(named)
    here = Path("config.toml")
    return here if here.exists() else None


def _suggestion(name: str, known: Collection[str]) -> str:
    by_short_name = {other.removeprefix(ENVIRONMENT_PREFIX): other for other in known}
    close = difflib.get_close_matches(name.removeprefix(ENVIRONMENT_PREFIX), by_short_name, n=1, cutoff=0.75)
    return f"; did you mean {by_short_name[close[0]]}?" if close else ""
