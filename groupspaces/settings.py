"""Everything an operator can decide, as frozen structs.

Owns names, defaults and ranges of all settings (`config.toml` repeats them with a comment each; a test keeps the two
equal), and the check of all of them at once. Secrets never appear in a message, in `repr()` or in `config show`; those that a
standalone instance keeps itself are `deployment_secrets.py`'s.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
import orjson
from msgspec import Meta, field

from groupspaces.errors import SettingsError
from groupspaces.settings_checks import allowed_values, in_good_form, shown
from groupspaces.settings_sources import Given, Sources

EXIT_SETTINGS = 3  # exit code of every command that finds the settings wrong
HIDDEN = "(hidden)"

REPLICA_NEEDS = (
    "auth.secret is required when a primary is set: give all instances the same AUTH_SECRET "
    "(make one with `openssl rand -hex 32`)"
)

# Keys or whole sections that this version accepts and does not use.
NOT_YET = {
    "files": "stores no files yet",
    "alerts": "sends no alerts yet",
    "sentry": "does not report to Sentry yet",
}

Text = Annotated[str, Meta(max_length=1000)]
Secret = Annotated[str, Meta(max_length=8192, extra={"secret": True})]
Secrets = Annotated[tuple[Annotated[str, Meta(max_length=8192)], ...], Meta(extra={"secret": True})]
Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]


class Section(msgspec.Struct, frozen=True):
    """One `[section]`. Printing it shows no secret."""

    def __repr__(self) -> str:
        values = (
            f"{f.name}={HIDDEN if _is_secret(f.type) and getattr(self, f.name) else repr(getattr(self, f.name))}"
            for f in msgspec.structs.fields(self)
        )
        return f"{type(self).__name__}({', '.join(values)})"


class Server(Section, frozen=True):
    host: Text = "127.0.0.1"
    port: Port = 3000
    public_url: Text = ""
    trusted_proxies: tuple[Text, ...] = ("127.0.0.1", "::1")
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    cors_origins: tuple[Text, ...] = ()
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    request_timeout_s: Annotated[float, Meta(ge=1, le=600)] = 30
    shutdown_timeout_s: Annotated[float, Meta(ge=0, le=60)] = 5
    environment: Literal["production", "development"] = "production"


class Data(Section, frozen=True):
    dir: Annotated[str, Meta(min_length=1, max_length=1000)] = "./data"
    wal_limit_mb: Annotated[int, Meta(ge=8, le=100_000)] = 64
    min_free_mb: Annotated[int, Meta(ge=0, le=10_000_000)] = 512


class Primary(Section, frozen=True):
    url: Text = ""
    token: Secret = ""
    # Below 5 s, so that a write can be answered with 503 within 5 s while the primary hangs.
    timeout_s: Annotated[float, Meta(ge=0.1, le=60)] = 4
    migrate: bool = False


class Replica(Section, frozen=True):
    url: Text = ""
    token: Secret = ""
    interval_s: Annotated[float, Meta(ge=0.1, le=3600)] = 1
    idle_interval_s: Annotated[float, Meta(ge=0.1, le=3600)] = 60
    jitter: Annotated[float, Meta(ge=0, le=0.5)] = 0.1
    doorbell: bool = True
    timeout_s: Annotated[float, Meta(ge=0.1, le=600)] = 5
    verify_hours: Annotated[float, Meta(ge=0, le=8760)] = 24


class Instance(Section, frozen=True):
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = ""
    region: Annotated[str, Meta(max_length=64)] = ""
    url: Text = ""
    heartbeat_s: Annotated[float, Meta(ge=0.1, le=3600)] = 60
    idle_heartbeat_s: Annotated[float, Meta(ge=0.1, le=3600)] = 300


class Auth(Section, frozen=True):
    secret: Secret = ""
    previous_secrets: Secrets = ()
    sign_up: Literal["open", "invite", "closed"] = "open"
    password_sign_in: bool = True
    require_verified_email: bool = False
    session_days: Annotated[int, Meta(ge=1, le=3650)] = 30
    idle_days: Annotated[int, Meta(ge=1, le=3650)] = 14
    confirm_min: Annotated[int, Meta(ge=1, le=1440)] = 10
    max_stale_s: Annotated[int, Meta(ge=0, le=604_800)] = 900


class Oauth(Section, frozen=True):
    google_client_id: Text = ""
    google_client_secret: Secret = ""
    github_client_id: Text = ""
    github_client_secret: Secret = ""
    oidc_name: Annotated[str, Meta(max_length=64)] = ""
    oidc_issuer: Text = ""
    oidc_client_id: Text = ""
    oidc_client_secret: Secret = ""


class Limits(Section, frozen=True):
    enabled: bool = True
    auth_per_min: Count = 5
    reads_per_min: Count = 1200
    writes_per_min: Count = 120
    anonymous_per_min: Count = 100
    uploads_per_min: Count = 20
    rules: tuple[Text, ...] = ()
    redis_url: Secret = ""


class Mail(Section, frozen=True):
    host: Text = ""
    port: Port = 587
    user: Text = ""
    password: Secret = ""
    tls: Literal["auto", "tls", "starttls", "none"] = "auto"
    sender: Text = field(name="from", default="")


class Files(Section, frozen=True):
    max_size_mb: Annotated[int, Meta(ge=1, le=10_000)] = 25
    s3_bucket: Text = ""
    s3_region: Text = ""
    s3_endpoint: Text = ""
    s3_access_key: Secret = ""
    s3_secret_key: Secret = ""


class Backup(Section, frozen=True):
    daily: Annotated[int, Meta(ge=0, le=1000)] = 7
    weekly: Annotated[int, Meta(ge=0, le=1000)] = 4
    monthly: Annotated[int, Meta(ge=0, le=1000)] = 6
    passphrase: Secret = ""
    s3_bucket: Text = ""
    s3_region: Text = ""
    s3_endpoint: Text = ""
    s3_prefix: Text = "groupspaces"
    s3_access_key: Secret = ""
    s3_secret_key: Secret = ""
    before_migration: bool = True
    proof_max_age_h: Annotated[int, Meta(ge=1, le=8760)] = 30


# "off", an interval, or the five fields of a crontab line, in UTC.
Times = Annotated[
    str,
    Meta(pattern=r"^(off|[0-9]+(\.[0-9]+)?[smhd]|[0-9*,/A-Za-z-]+( [0-9*,/A-Za-z-]+){4})$", max_length=100),
]


class Jobs(Section, frozen=True):
    backup: Times = "0 2 * * *"
    backup_proof: Times = "1h"
    backup_offsite: Times = "5m"
    backup_retention: Times = "6h"
    restore_cleanup: Times = "10m"
    retention: Times = "1h"
    session_retention: Times = "1d"
    cleanup: Times = "6h"
    database_check: Times = "30 3 * * 0"
    certificate_check: Times = "1d"
    disk_watch: Times = "1m"
    audit_check: Times = "1d"


class Log(Section, frozen=True):
    level: Literal["auto", "debug", "info", "warning", "error"] = "auto"
    access: Literal["all", "writes", "errors"] = "writes"
    slow_query_ms: Annotated[float, Meta(ge=0.1, le=60_000)] = 50


class Metrics(Section, frozen=True):
    enabled: bool = True
    token: Secret = ""


class Alerts(Section, frozen=True):
    email: Text = ""
    slack_webhook_url: Secret = ""


class Assets(Section, frozen=True):
    base_url: Text = ""


class Analytics(Section, frozen=True):
    google_id: Text = ""


class Sentry(Section, frozen=True):
    dsn: Secret = ""


class Audit(Section, frozen=True):
    retention_days: Annotated[int, Meta(ge=1, le=3650)] = 365


class Changes(Section, frozen=True):
    retention_days: Annotated[int, Meta(ge=1, le=365)] = 7


class Setting(NamedTuple):
    """One line of `config show`; the value of a secret is replaced."""

    key: str
    value: Any
    source: str
    secret: bool


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of one process. `sources` says where each value that is not a default came from."""

    server: Server = field(default_factory=Server)
    data: Data = field(default_factory=Data)
    primary: Primary = field(default_factory=Primary)
    replica: Replica = field(default_factory=Replica)
    instance: Instance = field(default_factory=Instance)
    auth: Auth = field(default_factory=Auth)
    oauth: Oauth = field(default_factory=Oauth)
    limits: Limits = field(default_factory=Limits)
    mail: Mail = field(default_factory=Mail)
    files: Files = field(default_factory=Files)
    backup: Backup = field(default_factory=Backup)
    jobs: Jobs = field(default_factory=Jobs)
    log: Log = field(default_factory=Log)
    metrics: Metrics = field(default_factory=Metrics)
    alerts: Alerts = field(default_factory=Alerts)
    assets: Assets = field(default_factory=Assets)
    analytics: Analytics = field(default_factory=Analytics)
    sentry: Sentry = field(default_factory=Sentry)
    audit: Audit = field(default_factory=Audit)
    changes: Changes = field(default_factory=Changes)
    sources: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def mode(self) -> Literal["standalone", "replica"]:
        return "replica" if self.primary.url else "standalone"

    @property
    def data_dir(self) -> Path:
        return Path(self.data.dir)

    @property
    def public_url(self) -> str:
        """Where people reach this instance, without a trailing slash."""
        return self.server.public_url or f"http://localhost:{self.server.port}"

    @property
    def mail_sender(self) -> str:
        """Who mail is from: the guide names a user of the mail server and no sender."""
        if self.mail.sender or "@" in self.mail.user:
            return self.mail.sender or self.mail.user
        return f"no-reply@{urlsplit(self.public_url).hostname}"

    @property
    def replica_url(self) -> str:
        """Where the replica syncs from: the primary, unless another server was named."""
        return self.replica.url or self.primary.url

    @property
    def replica_token(self) -> str:
        return self.replica.token or self.primary.token

    @property
    def log_level(self) -> Literal["debug", "info", "warning", "error"]:
        if self.log.level != "auto":
            return self.log.level
        return "debug" if self.server.environment == "development" else "info"

    def describe(self) -> list[Setting]:
        """List all settings in the order of `config.toml`, secrets masked."""
        return [
            Setting(known.key, self._shown(known), self.sources.get(known.key, "default"), known.secret)
            for known in known_settings()
        ]

    def secret_values(self) -> list[str]:
        """Return the secrets that are set, for the log to remove wherever they turn up."""
        values = (self.value_of(known) for known in known_settings() if known.secret)
        return [text for value in values for text in ([value] if isinstance(value, str) else value) if text]

    def value_of(self, known: KnownSetting) -> Any:
        return getattr(getattr(self, known.section), known.attribute)

    def _shown(self, known: KnownSetting) -> Any:
        value = self.value_of(known)
        return HIDDEN if known.secret and value else value


class KnownSetting(NamedTuple):
    """What is known about a setting before anybody gave it a value."""

    key: str
    section: str
    attribute: str
    type: Any
    default: Any
    secret: bool


# --- public verbs ---


def load(
    environ: Mapping[str, str],
    config_path: Path | None = None,
    *,
    overrides: Mapping[str, str] | None = None,
) -> Settings:
    """Read, check and freeze all settings.

    The first of these wins: `overrides` (`section.key` → text, from the command line), `GROUPSPACES__SECTION__KEY`,
    the guide's names, the file at `config_path` (default: `GROUPSPACES_CONFIG`, then `./config.toml` if there is
    one), the default. Raises SettingsError that names every problem at once.
    """
    known = {setting.key: setting for setting in known_settings()}
    sources = Sources(
        environ,
        config_path,
        overrides or {},
        keys=known.keys(),
        secret_keys={key for key, setting in known.items() if setting.secret},
    )
    problems = sources.problems
    values: dict[str, dict[str, Any]] = {setting.section: {} for setting in known.values()}
    origins: dict[str, str] = {}
    for setting in known.values():
        given = sources.given(setting.key, functools.partial(_same_spelling, setting.key))
        if given is None:
            continue
        try:
            value = _checked(setting, given)
        except ValueError as error:
            problems.append(f"{_named(setting, given)}: {error}")
            continue
        values[setting.section][setting.attribute] = value
        if value != setting.default or given.is_text:
            origins[setting.key] = given.source
    sections = {
        f.name: f.type(**values[f.name]) for f in msgspec.structs.fields(Settings) if f.name in values
    }
    settings = Settings(**sections, sources=origins, notes=tuple(sources.notes()))
    problems += _contradictions(settings, problems)
    if problems:
        count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        raise SettingsError("\n".join([f"{count} wrong:", *(f"- {problem}" for problem in problems)]))
    return settings


@functools.cache
def known_settings() -> tuple[KnownSetting, ...]:
    """List every setting there is, in the order of the sections."""
    return tuple(
        KnownSetting(
            f"{section.name}.{f.encode_name}", section.name, f.name, f.type, f.default, _is_secret(f.type)
        )
        for section in msgspec.structs.fields(Settings)
        if isinstance(section.type, type) and issubclass(section.type, Section)
        for f in msgspec.structs.fields(section.type)
    )


def unused(settings: Settings) -> list[str]:
    """Say which settings are accepted but do nothing in this version, and which variables never will."""
    changed = [known for known in known_settings() if settings.value_of(known) != known.default]
    reasons = {known.key: NOT_YET.get(known.key) or NOT_YET.get(known.section) for known in changed}
    notes = [f"{key} is set, but this version {reason}" for key, reason in reasons.items() if reason]
    return [*notes, *settings.notes]


def config_show(settings: Settings, *, as_json: bool) -> str:
    """Print every setting with its value and source, secrets masked."""
    described = settings.describe()
    if as_json:
        return orjson.dumps([setting._asdict() for setting in described], option=orjson.OPT_INDENT_2).decode()
    rows = [(setting.key, _as_toml(setting.value), setting.source) for setting in described]
    key_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"{key:<{key_width}}  {value:<{value_width}}  {source}" for key, value, source in rows]
    return "\n".join([*lines, *(f"note: {note}" for note in unused(settings))])


def config_check(environ: Mapping[str, str], config_path: Path | None = None) -> tuple[int, str]:
    """Load the settings and return an exit code with the text to print: 0, or EXIT_SETTINGS and all problems."""
    try:
        settings = load(environ, config_path)
    except SettingsError as error:
        return EXIT_SETTINGS, str(error)
    lines = [f"The settings are fine: {settings.mode} mode, data in {settings.data.dir}."]
    return 0, "\n".join([*lines, *(f"note: {note}" for note in unused(settings))])


# --- helpers ---


def _checked(setting: KnownSetting, given: Given) -> Any:
    """Bring a value to the setting's type and form, or raise ValueError that says what is allowed."""
    raw = given.raw
    if given.is_text and isinstance(setting.default, tuple):
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    try:
        value = msgspec.convert(raw, setting.type, strict=not given.is_text)
    except msgspec.ValidationError:
        raise ValueError(f"must be {allowed_values(setting.type)}") from None
    return in_good_form(setting.key, value)


def _same_spelling(key: str, text: str) -> str:
    """Let two names of one setting differ in what does not matter, such as a trailing slash."""
    try:
        return str(in_good_form(key, text))
    except ValueError:
        return text


def _contradictions(settings: Settings, problems: list[str]) -> Iterator[str]:
    """Yield what is wrong between settings, unless one of them was complained about already."""
    refused = {problem.split(" ", 1)[0].rstrip(":") for problem in problems}
    if settings.mode == "replica" and not settings.auth.secret and "auth.secret" not in refused:
        yield REPLICA_NEEDS
    if settings.mode == "standalone" and settings.replica.url and "primary.url" not in refused:
        yield "replica.url needs primary.url: without a primary there is nothing to write to"
    if settings.replica.idle_interval_s < settings.replica.interval_s:
        yield "replica.idle_interval_s must not be below replica.interval_s: nobody would wait longer than when people are there"
    if settings.instance.idle_heartbeat_s < settings.instance.heartbeat_s:
        yield "instance.idle_heartbeat_s must not be below instance.heartbeat_s"


def _named(setting: KnownSetting, given: Given) -> str:
    if setting.secret:
        return f"{setting.key} (from {given.source})"
    return f"{setting.key} = {_as_toml(shown(setting.key, given.raw))} (from {given.source})"


def _as_toml(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()


def _is_secret(annotation: Any) -> bool:
    return annotation in (Secret, Secrets)
