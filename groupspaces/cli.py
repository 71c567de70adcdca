"""The command line: `groupspaces COMMAND`.

Owns arguments, what is printed and exit codes; every command is a few lines around a verb of another module. Exit codes:
0 done, 1 failed, 2 wrong use, 3 settings, 4 port taken, 5 folder not writable, 6 schema, 7 primary refused,
8 database refused.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import orjson

from groupspaces import (
    __version__,
    cli_audit,
    cli_backup,
    cli_db,
    cli_jobs,
    cli_maintenance,
    cli_replica,
    cli_restore,
    cli_secret,
    cli_seed,
    cli_tokens,
    cli_torture,
    cli_users,
)
from groupspaces.db.folder import FolderError
from groupspaces.db.migrate import SchemaError
from groupspaces.errors import AppError, DatabaseRefused, PortTaken, PrimaryRefused, SettingsError
from groupspaces.settings import EXIT_SETTINGS, Settings, config_check, config_show, load

if TYPE_CHECKING:
    from groupspaces.db.migrate import Migration

EXIT_FAILED = 1
EXIT_PORT = 4
EXIT_FOLDER = 5
EXIT_SCHEMA = 6
EXIT_PRIMARY = 7
EXIT_DATABASE = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. What it makes is for its user alone."""
    os.umask(0o077)
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has enough, such as `head`: nothing is wrong, and nothing more can be said there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SettingsError as error:
        print(f"groupspaces: {error}", file=sys.stderr)
        return _exit_code(error)
    except AppError as error:
        print(f"groupspaces: {error.detail}", file=sys.stderr)
        return EXIT_FAILED


def _exit_code(error: SettingsError) -> int:
    codes = {
        PortTaken: EXIT_PORT,
        FolderError: EXIT_FOLDER,
        SchemaError: EXIT_SCHEMA,
        PrimaryRefused: EXIT_PRIMARY,
        DatabaseRefused: EXIT_DATABASE,
    }
    return codes.get(type(error), EXIT_SETTINGS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="groupspaces", description="Spaces for learning and working together."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the server")
    serve.add_argument("--host", help="address to listen on ([server] host)")
    serve.add_argument("--port", help="port to listen on ([server] port)")
    serve.add_argument("--workers", help="how many processes serve ([server] workers)")
    serve.add_argument("--migrate", action="store_true", help="apply pending migrations to the primary first")
    serve.set_defaults(command=_serve)

    migrate = commands.add_parser("migrate", help="change or show the schema of the primary")
    actions = migrate.add_subparsers(required=True, metavar="ACTION")
    up = actions.add_parser("up", help="apply pending migrations")
    up.set_defaults(command=_migrate_up)
    down = actions.add_parser("down", help="undo the newest migration; what it stored is lost")
    down.add_argument("--steps", type=_positive, default=1, help="how many to undo (default 1)")
    down.add_argument("--yes", action="store_true", help="do not ask, even at a terminal")
    down.set_defaults(command=_migrate_down)
    new = actions.add_parser("new", help="begin a migration file, for developers")
    new.add_argument("name", help="lower-case words joined by _")
    new.set_defaults(command=_migrate_new)
    status = actions.add_parser("status", help="list migrations")
    status.add_argument("--json", action="store_true")
    status.set_defaults(command=_migrate_status)
    actions.add_parser("schema", help="print the schema as SQL").set_defaults(command=_migrate_schema)

    cli_replica.add_commands(commands)
    cli_db.add_commands(commands)
    cli_backup.add_commands(commands)
    cli_restore.add_commands(commands)
    cli_jobs.add_commands(commands)
    cli_seed.add_commands(commands)
    cli_maintenance.add_commands(commands)
    cli_torture.add_commands(commands)
    for accounts in (cli_users, cli_tokens, cli_audit, cli_secret):
        accounts.add_commands(commands)

    config = commands.add_parser("config", help="show or check the settings")
    config_actions = config.add_subparsers(required=True, metavar="ACTION")
    show = config_actions.add_parser("show", help="print every setting with its source, secrets masked")
    show.add_argument("--json", action="store_true")
    show.set_defaults(command=_config_show)
    config_actions.add_parser("check", help="say what is wrong").set_defaults(command=_config_check)

    commands.add_parser("openapi", help="print the OpenAPI document").set_defaults(command=_openapi)
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError("must be a number of 1 or more")
    return int(text)


# --- commands; what they need is imported when they run, so that each starts fast ---


def _serve(arguments: argparse.Namespace) -> int:
    from groupspaces import server

    given = {
        "server.host": arguments.host,
        "server.port": arguments.port,
        "server.workers": arguments.workers,
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    if arguments.migrate:
        overrides["primary.migrate"] = "true"
    return server.run(load(os.environ, overrides=overrides), _exit_code)


def _migrate_up(_: argparse.Namespace) -> int:
    from groupspaces.db import migrate, offline

    async def up(settings: Settings) -> None:
        async with offline.primary(settings) as primary:
            applied = await migrate.up(primary, before=_before_migrating(settings))
        print("\n".join(f"applied {migration.label}" for migration in applied) or "nothing to do")

    asyncio.run(up(load(os.environ)))
    return 0


def _migrate_down(arguments: argparse.Namespace) -> int:
    from groupspaces.db import migrate, offline

    async def down(settings: Settings) -> int:
        async with offline.primary(settings, alone=True) as primary:
            losses = await migrate.newest(primary, steps=arguments.steps)
            if losses and not arguments.yes and not _agreed(losses):
                print("Nothing was changed.")
                return EXIT_FAILED
            if losses:
                await _before_migrating(settings)()
            undone = await migrate.down(primary, steps=arguments.steps)
        print("\n".join(f"undone {migration.label}" for migration in undone) or "nothing to undo")
        return 0

    return asyncio.run(down(load(os.environ)))


def _before_migrating(settings: Settings) -> Callable[[], Awaitable[None]]:
    async def back_up() -> None:
        from groupspaces.clock import SystemClock
        from groupspaces.db.folder import DataFolder
        from groupspaces.deployment_secrets import with_secrets
        from groupspaces.identity import identify
        from groupspaces.ops.backups.before_migration import before_migrating

        DataFolder(settings.data_dir).prepare()
        known = with_secrets(settings, settings.data_dir)
        await before_migrating(known, identify(known).id, SystemClock())()

    return back_up


def _agreed(losses: Sequence[Migration]) -> bool:
    """Ask whoever sits at the terminal; a script meant what it said."""
    if not sys.stdin.isatty():
        return True
    for migration in losses:
        print(f"Undoing {migration.label} loses what its tables hold.")
    return input("A backup is made first. Go on? Type yes: ").strip().lower() == "yes"


def _migrate_new(arguments: argparse.Namespace) -> int:
    from groupspaces.db import migrate

    print(f"wrote {migrate.begin(arguments.name)}")
    return 0


def _migrate_status(arguments: argparse.Namespace) -> int:
    from groupspaces.db import migrate, offline

    async def status(settings: Settings) -> migrate.SchemaStatus:
        async with offline.primary(settings) as primary:
            return await migrate.status(primary)

    found = asyncio.run(status(load(os.environ)))
    applied = [
        {"migration": f"{row.version:04d}_{row.name}", "applied_at_ms": row.applied_at_ms}
        for row in found.applied
    ]
    pending = [migration.label for migration in found.pending]
    if arguments.json:
        print(orjson.dumps({"version": found.version, "applied": applied, "pending": pending}).decode())
        return 0
    for row in applied:
        print(f"applied  {row['migration']}")
    for label in pending:
        print(f"pending  {label}")
    return 0


def _migrate_schema(_: argparse.Namespace) -> int:
    from groupspaces.db import migrate, offline

    async def schema() -> str:
        async with offline.scratch() as primary:
            await migrate.up(primary)
            return await migrate.schema(primary)

    sys.stdout.write(asyncio.run(schema()))
    return 0


def _config_show(arguments: argparse.Namespace) -> int:
    print(config_show(load(os.environ), as_json=arguments.json))
    return 0


def _config_check(_: argparse.Namespace) -> int:
    code, text = config_check(os.environ)
    if not code and (rules := load(os.environ).limits.rules):
        from groupspaces.app import operations
        from groupspaces.web.limits import check_rules

        check_rules(rules, ((op.method, op.path) for op in operations()))
    print(text)
    return code


def _openapi(_: argparse.Namespace) -> int:
    from groupspaces.app import openapi_document

    print(orjson.dumps(openapi_document(), option=orjson.OPT_INDENT_2).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
