from __future__ import annotations

import json
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from groupspaces import secret_file, settings_sources
from groupspaces.deployment_secrets import ensure_secret, secret_fingerprint
from groupspaces.errors import SettingsError
from groupspaces.settings import (
    EXIT_SETTINGS,
    Settings,
    config_check,
    config_show,
    known_settings,
    load,
    unused,
)
from groupspaces.settings_checks import allowed_values

CONFIG = Path(__file__).parents[2] / "config.toml"
SECRET = "correct horse battery staple"
OTHER_SECRET = "another secret that is long"

# Every variable that the deployment guide names, with a value of its kind and the setting it must reach.
GUIDE = {
    "TURSO_CONNECTION_URL": ("libsql://spaces.example.org", "primary.url", "https://spaces.example.org"),
    "TURSO_AUTH_TOKEN": ("a-token", "primary.token", "a-token"),
    "TURSO_REPLICA_URL": ("libsql://near.example.org", "replica.url", "https://near.example.org"),
    "TURSO_REPLICA_TOKEN": ("near-token", "replica.token", "near-token"),
    "BETTER_AUTH_SECRET": (SECRET, "auth.secret", SECRET),
    "NEXTAUTH_SECRET": (SECRET, "auth.secret", SECRET),
    "NEXTAUTH_URL": ("https://spaces.example.org", "server.public_url", "https://spaces.example.org"),
    "NEXT_PUBLIC_APP_URL": ("https://spaces.example.org/", "server.public_url", "https://spaces.example.org"),
    "NODE_ENV": ("development", "server.environment", "development"),
    "PORT": ("3001", "server.port", 3001),
    "NEXT_PUBLIC_GOOGLE_ANALYTICS_ID": ("GA-123456789", "analytics.google_id", "GA-123456789"),
    "NEXT_PUBLIC_SENTRY_DSN": ("https://k@s.example.org/1", "sentry.dsn", "https://k@s.example.org/1"),
    "EMAIL_SERVER_HOST": ("smtp.example.com", "mail.host", "smtp.example.com"),
    "EMAIL_SERVER_PORT": ("2525", "mail.port", 2525),
    "EMAIL_SERVER_USER": ("me@example.com", "mail.user", "me@example.com"),
    "EMAIL_SERVER_PASSWORD": ("a password", "mail.password", "a password"),
    "AWS_ACCESS_KEY_ID": ("AKIA", "files.s3_access_key", "AKIA"),
    "AWS_SECRET_ACCESS_KEY": ("an aws key", "files.s3_secret_key", "an aws key"),
    "AWS_S3_BUCKET": ("bucket", "files.s3_bucket", "bucket"),
    "AWS_REGION": ("us-east-1", "files.s3_region", "us-east-1"),
    "REDIS_URL": ("redis://u:p@cache:6379", "limits.redis_url", "redis://u:p@cache:6379"),
}
GUIDE_REPLACED = {
    "NEXT_TELEMETRY_DISABLED": "1",
    "HOSTNAME": "0.0.0.0",
    "BACKUP_DIR": "/backups",
    "RETENTION_DAYS": "7",
    "DB_NAME": "group-spaces",
    "APP_DIR": "/opt/group-spaces",
    "LOG_FILE": "/var/log/backup.log",
}


@pytest.fixture(autouse=True)
def _empty_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a `config.toml` of the folder that tests run in out of them."""
    folder = tmp_path / "working-folder"
    folder.mkdir()
    monkeypatch.chdir(folder)


def value_of(settings: Settings, key: str) -> object:
    known = next(setting for setting in known_settings() if setting.key == key)
    return getattr(getattr(settings, known.section), known.attribute)


def problems_of(environ: dict[str, str], config: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(environ, config)
    return str(caught.value)


# --- config.toml and the structs ---


def test_config_file_and_structs_have_the_same_keys_and_defaults() -> None:
    tables = tomllib.loads(CONFIG.read_text())
    in_file = {f"{section}.{key}": value for section, table in tables.items() for key, value in table.items()}
    in_structs = {known.key: msgspec.to_builtins(known.default) for known in known_settings()}
    assert in_file == {
        key: list(value) if isinstance(value, tuple) else value for key, value in in_structs.items()
    }
    assert list(in_file) == [known.key for known in known_settings()]


def test_config_file_loads_as_the_defaults() -> None:
    settings = load({}, CONFIG)
    assert settings == Settings()
    assert {setting.source for setting in settings.describe()} == {"default"}


def comments() -> dict[str, str]:
    """Read the one comment line above each key of config.toml."""
    found: dict[str, str] = {}
    section, previous = "", ""
    for line in CONFIG.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif " = " in line and not line.startswith("#"):
            found[f"{section}.{line.split(' = ')[0]}"] = previous
        previous = line
    return found


@pytest.mark.parametrize("known", known_settings(), ids=lambda known: known.key)
def test_comment_in_config_file_says_range_aliases_and_secrecy(known) -> None:
    comment = comments()[known.key]
    assert comment.startswith("# ")
    assert comment.endswith(".")
    limits = allowed_values(known.type)
    if " from " in limits:
        assert limits.split(" from ")[1] in comment
    elif limits == "true or false":
        assert limits in comment
    elif limits.startswith('"'):
        assert all(word in comment for word in limits.split(" or "))
    for alias in settings_sources.ALIASES.get(known.key, ()):
        assert alias in comment
    assert comment.startswith("# Secret: ") == known.secret


# --- the guide's variables ---


@pytest.mark.parametrize("name", GUIDE)
def test_every_variable_of_the_guide_reaches_its_setting(name: str) -> None:
    text, key, expected = GUIDE[name]
    needs = {"primary.url": {"AUTH_SECRET": SECRET}, "replica.url": {"TURSO_CONNECTION_URL": "http://p"}}
    environ = {"AUTH_SECRET": SECRET, **needs.get(key, {}), name: text}
    settings = load(environ)
    assert value_of(settings, key) == expected
    assert settings.sources[key] in {name, "AUTH_SECRET"}


@pytest.mark.parametrize("name", GUIDE_REPLACED)
def test_variables_without_a_setting_are_answered_with_what_replaces_them(name: str) -> None:
    notes = unused(load({name: GUIDE_REPLACED[name]}))
    assert len(notes) == 1
    assert notes[0].startswith(f"{name} is not ")


def test_aliases_of_settings_that_wait_for_a_feature_are_admitted() -> None:
    environ = {
        name: text for name, (text, key, _) in GUIDE.items() if key.startswith(("backup", "files", "sentry"))
    }
    notes = "\n".join(unused(load(environ)))
    assert "sentry.dsn is set, but this version does not report to Sentry yet" in notes
    assert "files.s3_bucket is set, but this version stores no files yet" in notes


def test_a_setting_that_waits_is_not_mentioned_with_its_default() -> None:
    assert unused(load({"GROUPSPACES__FILES__MAX_SIZE_MB": "25", "EMAIL_SERVER_PORT": "587"})) == []
    assert unused(load({"GROUPSPACES__FILES__MAX_SIZE_MB": "2"})) == [
        "files.max_size_mb is set, but this version stores no files yet"
    ]


def test_a_host_name_set_by_a_shell_is_not_mentioned() -> None:
    assert unused(load({"HOSTNAME": "build-7"})) == []


# --- precedence ---


def test_each_source_wins_over_the_next(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("[server]\nport = 1001\n")
    environ = {"GROUPSPACES__SERVER__PORT": "1003", "PORT": "1002"}
    steps = [
        (load({}), 3000, "default"),
        (load({}, config), 1001, "mine.toml"),
        (load({"PORT": "1002"}, config), 1002, "PORT"),
        (load(environ, config), 1003, "GROUPSPACES__SERVER__PORT"),
        (load(environ, config, overrides={"server.port": "1004"}), 1004, "command line"),
    ]
    for settings, port, source in steps:
        assert settings.server.port == port
        assert {s.key: s.source for s in settings.describe()}["server.port"] == source


def test_config_file_is_found_in_the_working_folder_and_by_its_variable(tmp_path: Path) -> None:
    Path("config.toml").write_text("[log]\nlevel = 'error'\n")
    assert load({}).log_level == "error"
    named = tmp_path / "named.toml"
    named.write_text("[log]\nlevel = 'warning'\n")
    assert load({"GROUPSPACES_CONFIG": str(named)}).log_level == "warning"


def test_empty_variables_count_as_not_set() -> None:
    environ = dict.fromkeys([*GUIDE, "GROUPSPACES__SERVER__PORT", "TURSO_AUTH_TOKEN_FILE"], "")
    assert load(environ) == Settings()


def test_lists_are_separated_by_commas() -> None:
    settings = load({"GROUPSPACES__SERVER__TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1,"})
    assert settings.server.trusted_proxies == ("10.0.0.0/8", "192.0.2.1")


def test_development_logs_more_unless_told_otherwise() -> None:
    assert load({}).log_level == "info"
    assert load({"NODE_ENV": "development"}).log_level == "debug"
    assert load({"NODE_ENV": "development", "GROUPSPACES__LOG__LEVEL": "error"}).log_level == "error"


# --- refusals ---


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[server]\nprot = 1\nworkers = '4'\n[log]\naccess = 'some'\n")
    message = problems_of(
        {
            "PORT": "70000",
            "GROUPSPACES__SERVER__WORKRS": "2",
            "GROUPSPACES__REPLICA__INTERVAL_S": "nan",
            "GROUPSPACES__PRIMARY__MIGRATE": "perhaps",
            "GROUPSPACES__SERVER__TRUSTED_PROXIES": "proxy.local",
            "TURSO_CONNECTION_URL": "http://p",
        },
        config,
    )
    assert message.startswith("9 settings are wrong:\n")
    for expected in [
        "server.prot in " + str(config) + " is not a setting; did you mean server.port?",
        "GROUPSPACES__SERVER__WORKRS (environment) is not a setting; did you mean GROUPSPACES__SERVER__WORKERS?",
        'server.port = "70000" (from PORT): must be a whole number from 0 to 65535',
        'server.workers = "4" (from config.toml): must be a whole number from 1 to 64',
        'log.access = "some" (from config.toml): must be "all" or "writes" or "errors"',
        'replica.interval_s = "nan" (from GROUPSPACES__REPLICA__INTERVAL_S): must be a number from 0.1 to 3600',
        'primary.migrate = "perhaps" (from GROUPSPACES__PRIMARY__MIGRATE): must be true or false',
        "must be IP addresses or networks such as 10.0.0.0/8",
        "auth.secret is required when a primary is set",
    ]:
        assert f"\n- {expected}" in message or expected in message


@pytest.mark.parametrize("known", [k for k in known_settings() if isinstance(k.default, int | float)])
def test_out_of_range_values_are_refused_for_every_number(known) -> None:
    name = "GROUPSPACES__" + known.key.upper().replace(".", "__")
    for text in ("-1", "99999999"):
        if not isinstance(known.default, bool):
            assert f"{known.key} = " in problems_of({name: text})
    assert f"{known.key} = " in problems_of({name: "many"})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "port = 3000",
            "port in",
        ),
        ("[server\n", "is not valid TOML"),
        ("[server.port]\nx = 1", "server.port = "),
        ("[nothing]\nx = 1", "nothing.x in"),
        (b"\xff", "is not valid TOML"),
    ],
)
def test_config_files_that_make_no_sense_are_refused(
    tmp_path: Path, content: str | bytes, expected: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert expected in problems_of({}, config)


def test_a_named_config_file_must_exist(tmp_path: Path) -> None:
    assert "cannot be read" in problems_of({"GROUPSPACES_CONFIG": str(tmp_path / "none.toml")})


@pytest.mark.parametrize(
    "url",
    [
        "file:local.db",
        "postgres://db",
        "libsql://",
        "libsql://host?authToken=hidden-value",
        "https://user:hidden-value@host",
        "http://host:port",
        "http://host:99999",
        "https://ho\tst",
        "eyJhbGciOi hidden-value",
    ],
)
def test_addresses_of_a_primary_that_cannot_work_are_refused(url: str) -> None:
    message = problems_of({"TURSO_CONNECTION_URL": url, "AUTH_SECRET": SECRET})
    assert "- primary.url = " in message
    assert "(from TURSO_CONNECTION_URL): must" in message
    assert "hidden-value" not in message


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("libsql://db-me.turso.io", "https://db-me.turso.io"),
        ("wss://DB.example.org/", "https://db.example.org"),
        ("libsql://127.0.0.1:8080?tls=0", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("ws://[::1]:8080/dev", "http://[::1]:8080/dev"),
    ],
)
def test_addresses_of_the_primary_become_http(url: str, expected: str) -> None:
    settings = load({"TURSO_CONNECTION_URL": url, "AUTH_SECRET": SECRET})
    assert settings.primary.url == expected
    assert settings.mode == "replica"


@pytest.mark.parametrize(
    "url", ["spaces.example.org", "https://x.org/app", "ftp://x.org", "https://x.org?a=1"]
)
def test_public_url_must_be_an_origin(url: str) -> None:
    assert "server.public_url" in problems_of({"APP_URL": url})


# --- two names of one setting ---


def test_two_names_with_one_value_agree() -> None:
    settings = load({"BETTER_AUTH_SECRET": SECRET, "NEXTAUTH_SECRET": SECRET})
    assert settings.auth.secret == SECRET
    urls = {
        "NEXTAUTH_URL": "https://Spaces.example.org/",
        "NEXT_PUBLIC_APP_URL": "https://spaces.example.org",
    }
    assert load(urls).public_url == "https://spaces.example.org"


def test_two_names_with_different_values_are_refused_without_showing_them() -> None:
    message = problems_of({"BETTER_AUTH_SECRET": SECRET, "NEXTAUTH_SECRET": OTHER_SECRET})
    assert "BETTER_AUTH_SECRET and NEXTAUTH_SECRET are set to different values" in message
    assert SECRET not in message
    assert OTHER_SECRET not in message


# --- secrets ---


SECRET_KEYS = [known.key for known in known_settings() if known.secret]


def test_the_secrets_are_these() -> None:
    assert set(SECRET_KEYS) == {
        "primary.token",
        "replica.token",
        "auth.secret",
        "auth.previous_secrets",
        "oauth.google_client_secret",
        "oauth.github_client_secret",
        "oauth.oidc_client_secret",
        "limits.redis_url",
        "mail.password",
        "files.s3_access_key",
        "files.s3_secret_key",
        "backup.passphrase",
        "backup.s3_access_key",
        "backup.s3_secret_key",
        "metrics.token",
        "alerts.slack_webhook_url",
        "sentry.dsn",
    }


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_every_secret_can_come_from_a_file_and_shows_nowhere(key: str, tmp_path: Path) -> None:
    value = {
        "limits.redis_url": "redis://:hidden-value@cache",
        "alerts.slack_webhook_url": "https://hooks.example.org/hidden-value",
        "sentry.dsn": "https://hidden-value@sentry.example.org/1",
    }.get(key, "hidden-value-of-some-length")
    file = tmp_path / "a-secret"
    file.write_text(f"  {value}\n")
    for name in ("GROUPSPACES__" + key.upper().replace(".", "__"), *settings_sources.ALIASES.get(key, ())):
        settings = load({f"{name}_FILE": str(file)})
        assert value_of(settings, key) in (value, (value,))
        assert settings.sources[key] == f"{name}_FILE ({file})"
        assert settings.secret_values() == [value]
        for shown in (
            config_show(settings, as_json=False),
            config_show(settings, as_json=True),
            repr(settings),
        ):
            assert "hidden-value" not in shown
            assert "(hidden)" in shown
        both = problems_of({f"{name}_FILE": str(file), name: value})
        assert f"{name} and {name}_FILE are both set" in both
        assert "hidden-value" not in both


def test_secret_files_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("\n")
    binary.write_bytes(b"\xff\xfe")
    assert "cannot be read: No such file" in problems_of({"AUTH_SECRET_FILE": str(tmp_path / "none")})
    assert "is empty" in problems_of({"AUTH_SECRET_FILE": str(empty)})
    assert "is not UTF-8" in problems_of({"AUTH_SECRET_FILE": str(binary)})


def test_settings_that_are_no_secret_cannot_come_from_a_file() -> None:
    assert "is not a setting" in problems_of({"GROUPSPACES__SERVER__PORT_FILE": "/etc/port"})


@pytest.mark.parametrize("value", ["short", "your-secret-key-here", "your-nextauth-secret"])
def test_weak_secrets_are_refused_without_showing_them(value: str) -> None:
    message = problems_of({"AUTH_SECRET": value})
    assert "auth.secret (from AUTH_SECRET): must" in message
    assert value not in message


def test_fingerprint_tells_secrets_apart_and_gives_none_away() -> None:
    assert secret_fingerprint(SECRET) == secret_fingerprint(SECRET)
    assert secret_fingerprint(SECRET) != secret_fingerprint(OTHER_SECRET)
    assert len(secret_fingerprint(SECRET)) == 64
    assert SECRET not in secret_fingerprint(SECRET)


def test_a_standalone_instance_makes_its_secret_once(tmp_path: Path) -> None:
    settings = load({})
    secret = ensure_secret(settings, tmp_path)
    assert len(secret) == 64
    assert ensure_secret(settings, tmp_path) == secret
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob("*secret*")] == ["secret"]
    assert ensure_secret(load({"AUTH_SECRET": SECRET}), tmp_path) == SECRET


def test_processes_that_start_together_get_the_same_secret(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from groupspaces.settings import Settings; from groupspaces.deployment_secrets import ensure_secret; sys.stdin.readline();"
        f"print(ensure_secret(Settings(), pathlib.Path({str(tmp_path)!r})))"
    )
    root = CONFIG.parent
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    assert len({racer.communicate(timeout=60)[0] for racer in racers}) == 1
    assert all(racer.returncode == 0 for racer in racers)
    assert [path.name for path in tmp_path.glob("*secret*")] == ["secret"]


def test_who_comes_second_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("of the first\n")
    secret_file._create_whole(path, "of the second\n")
    assert secret_file.read_or_create(path) == "of the first"
    assert list(tmp_path.glob("*secret*")) == [path]


@pytest.mark.parametrize("content", [b"", b"abc\n", b"\xff" * 64])
def test_a_damaged_secret_is_not_used(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(SettingsError, match="holds this instance's secret"):
        ensure_secret(Settings(), tmp_path)


def test_a_data_folder_that_is_missing_gives_a_clear_message(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be used: .*No such file"):
        ensure_secret(Settings(), tmp_path / "none")


def test_a_replica_needs_a_secret_and_a_primary() -> None:
    assert "auth.secret is required" in problems_of({"TURSO_CONNECTION_URL": "http://p"})
    assert "replica.url needs primary.url" in problems_of({"TURSO_REPLICA_URL": "http://r"})


def test_a_replica_syncs_from_the_primary_unless_told_otherwise() -> None:
    environ = {"TURSO_CONNECTION_URL": "http://p", "TURSO_AUTH_TOKEN": "p-token", "AUTH_SECRET": SECRET}
    settings = load(environ)
    assert (settings.replica_url, settings.replica_token) == ("http://p", "p-token")
    settings = load(environ | {"TURSO_REPLICA_URL": "http://r", "TURSO_REPLICA_TOKEN": "r-token"})
    assert (settings.replica_url, settings.replica_token) == ("http://r", "r-token")


# --- the command line's texts ---


def test_config_show_tells_value_and_source() -> None:
    settings = load({"PORT": "3001", "GROUPSPACES_SERVER_PORT": "tcp://10.0.0.1:3000"})
    text = config_show(settings, as_json=False)
    assert any(line.split() == ["server.port", "3001", "PORT"] for line in text.splitlines())
    assert "note: GROUPSPACES_SERVER_PORT is not used; did you mean GROUPSPACES__SERVER__PORT?" in text
    rows = json.loads(config_show(settings, as_json=True))
    assert {"key": "server.port", "value": 3001, "source": "PORT", "secret": False} in rows
    assert len(rows) == len(known_settings())


def test_config_check_answers_with_its_own_exit_code() -> None:
    code, text = config_check({})
    assert code == 0
    assert "standalone" in text
    code, text = config_check({"PORT": "many"})
    assert code == EXIT_SETTINGS
    assert "server.port" in text
