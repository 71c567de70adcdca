"""Who may do what, as two reviewed tables: `access_matrix.csv` and `foreign_ids.csv`.

The first has a row for each operation and a column for each kind of caller, the second one for each place in which an operation
takes the id of something: there, what belongs to somebody else is named. A cell is the status of the answer, and the code of a
problem unless it is the usual one of its status.

After an operation was added or meant to answer otherwise: `python -m tests.contract.access_matrix` makes all calls and shows how the
tables would have to change. Read that as you would read code that grants permission; with `--write` it is put into the files.
"""

from __future__ import annotations

import asyncio
import csv
import difflib
import io
import sys
import tempfile
import typing
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from groupspaces.app import operations
from groupspaces.web.operations import Operation
from tests.features.cast import CALLERS, Cast, Scene
from tests.features.stage import key_of
from tests.features.world import problem, running

ALL = {key_of(operation): operation for operation in operations()}

_FOLDER = Path(__file__).parent
_USUAL_CODES = {401: "NOT_SIGNED_IN", 404: "NOT_FOUND"}

# Everybody is confirmed lately for as long as this takes, and may be sent to a provider, which nobody asks anything.
_SETTINGS = {
    "auth.confirm_min": "1440",
    "oauth.github_client_id": "an id",
    "oauth.github_client_secret": "a secret",
}

# What names nothing that belongs to anybody: jobs and providers are the deployment's, and a name is one of a picture's parts.
_NOBODYS = frozenset(("job_id", "backup_id", "provider", "name"))
# Fields that hold ids and are not named so, or not at the top.
_HIDDEN_PLACES = {"POST /api/tokens": ("body scopes",)}

Row = dict[str, str]
Table = dict[str, Row]


class Matrix:
    """A table, its file, and how its cells come to be."""

    file: str
    columns: tuple[str, ...]

    @property
    def path(self) -> Path:
        return _FOLDER / self.file

    def names(self) -> list[str]:
        """Return what there has to be a row for, in the order of the file."""
        raise NotImplementedError

    async def answer(self, cast: Cast, name: str, column: str) -> str:
        """Make the call of one cell."""
        raise NotImplementedError

    def read(self) -> Table:
        """Return the rows as they were reviewed."""
        with self.path.open(newline="") as file:
            return {row.pop("call"): row for row in csv.DictReader(file)}

    async def row(self, cast: Cast, name: str) -> Row:
        """Make the calls of one row."""
        return {column: await self.answer(cast, name, column) for column in self.columns}

    async def proposed(self, cast: Cast) -> str:
        """Make all calls and return what the file would have to hold."""
        text = io.StringIO()
        writer = csv.DictWriter(text, ("call", *self.columns), lineterminator="\n")
        writer.writeheader()
        for name in self.names():
            try:
                writer.writerow({"call": name} | await self.row(cast, name))
            except AssertionError as error:
                print(f"Left out: {name}: {error}", file=sys.stderr)
        return text.getvalue()


class ByCaller(Matrix):
    """Each operation, called by everybody about what is theirs or their space's."""

    file = "access_matrix.csv"
    columns = CALLERS

    def names(self) -> list[str]:
        return sorted(ALL, key=_by_path)

    async def answer(self, cast: Cast, name: str, column: str) -> str:
        scene = await cast.scene(column)
        return cell(await scene.call(ALL[name]))


class ByPlace(Matrix):
    """Each place for an id, with somebody else's in it: named by an owner of another space, and by a token bound to another of theirs."""

    file = "foreign_ids.csv"
    columns = ("owner", "token:space")

    def names(self) -> list[str]:
        return [f"{key} | {place}" for key in sorted(ALL, key=_by_path) for place in places(ALL[key])]

    async def answer(self, cast: Cast, name: str, column: str) -> str:
        key, _, place = name.partition(" | ")
        scene = await cast.scene(column, owns_both=column == "token:space")
        return cell(await _with_foreign(scene, ALL[key], place))


MATRICES = (ByCaller(), ByPlace())


def cell(answer: httpx2.Response) -> str:
    """Return what a cell says of an answer."""
    if answer.status_code < 400:
        return str(answer.status_code)
    if not answer.content:  # to a HEAD
        return str(answer.status_code)
    code = problem(answer, answer.status_code)["code"]
    return (
        str(answer.status_code)
        if _USUAL_CODES.get(answer.status_code) == code
        else f"{answer.status_code} {code}"
    )


def places(operation: Operation) -> list[str]:
    """Return where an operation takes the id of what belongs to somebody, such as "path space_id" or "body message_id".

    Operators' calls are about everybody's; who may make them is all there is to ask.
    """
    if operation.path.startswith("/api/ops/"):
        return []
    found = [f"path {name}" for name in operation.parameter_names if name not in _NOBODYS]
    fields = () if operation.body is None else _id_fields(operation.body)
    return found + [f"body {name}" for name in fields] + list(_HIDDEN_PLACES.get(key_of(operation), ()))


@asynccontextmanager
async def acting() -> AsyncIterator[Cast]:
    """Start an application of its own and everybody in it."""
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder) / "data", _SETTINGS) as world:
            yield await Cast.of(world)


async def _with_foreign(scene: Scene, operation: Operation, place: str) -> httpx2.Response:
    where, _, name = place.partition(" ")
    if where == "path":
        return await scene.call(operation, params={name: scene.foreign[name]})
    if name == "scopes":
        return await scene.call(operation, body={name: ["read", f"space:{scene.foreign['space_id']}"]})
    first, _, inner = name.partition(".")
    if inner:
        whole = {field: scene.theirs[field] for field in ("space_id", "user_id")}
        return await scene.call(operation, body={first: [whole | {inner: scene.foreign[inner]}]})
    foreign: Any = scene.foreign[name.removesuffix("s")]
    return await scene.call(operation, body={name: [foreign] if name.endswith("s") else foreign})


def _id_fields(body: type) -> list[str]:
    """Return the fields of a body that hold ids; one inside a list of structs is named with a dot."""
    found = []
    for field in msgspec.structs.fields(body):
        if field.encode_name.endswith(("_id", "_ids")):
            found.append(field.encode_name)
        for inner in _structs_in(field.type):
            found += [f"{field.encode_name}.{name}" for name in _id_fields(inner)]
    return found


def _structs_in(kind: Any) -> Iterable[type]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return (kind,)
    return [struct for part in typing.get_args(kind) for struct in _structs_in(part)]


def _by_path(key: str) -> tuple[str, str]:
    method, _, path = key.partition(" ")
    return path, method


async def _propose(*, write: bool) -> bool:
    """Show how the files would have to change, or change them. Returns whether they are as they should be."""
    is_current = True
    async with acting() as cast:
        for matrix in MATRICES:
            before = matrix.path.read_text() if matrix.path.exists() else ""
            proposed = await matrix.proposed(cast)
            is_current &= before == proposed
            changes = difflib.unified_diff(
                before.splitlines(keepends=True),
                proposed.splitlines(keepends=True),
                matrix.file,
                "proposed",
                n=0,
            )
            sys.stdout.writelines(changes)
            if write:
                matrix.path.write_text(proposed)
    return is_current


if __name__ == "__main__":
    wants_write = sys.argv[1:] == ["--write"]
    if sys.argv[1:] and not wants_write:
        sys.exit(__doc__)
    as_reviewed = asyncio.run(_propose(write=wants_write))
    sys.exit(0 if as_reviewed or wants_write else 1)
