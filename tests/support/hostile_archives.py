"""Archives that no backup ever was: cut off, altered, of a later version, made to escape from their folder or to fill the disk."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import random
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import zstandard

from groupspaces.db import migrate
from groupspaces.ops.backups.making import Made, MakeOrder, make

PASSPHRASE = "the passphrase of the archives that are no backups"
_MANIFEST = "manifest.json"
_BLOCK = 512
# Behind two headers and the key, which is filled up with what says nothing.
_SEALED_FROM = 3 * _BLOCK + 512


def good(folder: Path, *, passphrase: str = "") -> Path:
    """Make a small archive that is good."""
    database = folder / "source.db"
    if not database.exists():
        connection = apsw.Connection(str(database))
        connection.execute(migrate.script())
        connection.close()
    order = MakeOrder(
        database=str(database),
        files=str(folder / "files"),
        folder=str(folder),
        settings="",
        id="20200101T000000Z-0000ff" if passphrase else "20200101T000000Z-0000fe",
        reason="by hand",
        instance_id="a",
        mode="standalone",
        created_at_ms=1,
        as_of_ms=1,
        secret="0" * 16,
        passphrase=passphrase,
    )
    [made] = [step for step in make(order) if isinstance(step, Made)]
    return folder / made.file


@functools.cache
def all_of_them() -> dict[str, bytes]:
    """Return what each is → its bytes. Those that are encrypted are so with `PASSPHRASE`."""
    with tempfile.TemporaryDirectory() as name:
        plain = good(Path(name)).read_bytes()
        # Without what a tar file is filled up with at its end, which says nothing.
        sealed = good(Path(name), passphrase=PASSPHRASE).read_bytes().rstrip(b"\0")
    parts = _unpacked(plain)
    found = {
        "empty": b"",
        "text": b"this is no archive\n" * 1000,
        "another tar": _tar([("a.txt", b"a")]),
        "another tar, compressed": zstandard.compress(_tar([("a.txt", b"a")])),
        "a manifest and nothing else": _packed({_MANIFEST: parts[_MANIFEST]}),
        "more than its manifest says": _packed(parts | {"more.txt": b"more"}),
        "with something behind it": plain + b"behind",
        "two archives": plain + plain,
        "a part that is shorter": _packed(parts | {"database.db": parts["database.db"][:-1]}),
        "a database that is none": _packed(_of(parts, {"database.db": b"no database" * 400})),
        "another database with its own digest": _packed(_of(parts, {"database.db": _emptied(parts)})),
        "a symbolic link": _packed(parts, kind=tarfile.SYMTYPE),
        "a device": _packed(parts, kind=tarfile.CHRTYPE),
    }
    found |= {f"cut off at {at} of 12": plain[: len(plain) * at // 12] for at in range(1, 12)}
    found |= {f"sealed, cut off at {at} of 6": sealed[: len(sealed) * at // 6] for at in range(1, 6)}
    found |= {f"flipped ({seed})": _flipped(plain, seed) for seed in range(12)}
    found |= {f"sealed, flipped ({seed})": _flipped(sealed, seed, _SEALED_FROM) for seed in range(6)}
    for what, change in _MANIFESTS.items():
        manifest: dict[str, Any] = json.loads(parts[_MANIFEST])
        change(manifest)
        found[what] = _packed(parts | {_MANIFEST: json.dumps(manifest).encode()})
    for path in _ESCAPES:
        found[f"a part called {path!r}"] = _packed(_of(parts, {path: b"escaped"}))
    found["a bomb"] = _packed(_of(parts, {"files/bomb": bytes(300_000_000)}))
    found["a bomb that says it is small"] = _packed(parts | {"database.db": bytes(300_000_000)})
    return found


_ESCAPES = (
    "../escaped",
    "/tmp/escaped",
    "files/../../escaped",
    "files/./../../escaped",
    "files//escaped",
    "files/.escaped",
    "files/escaped\\..\\..",
    "database.db/../../escaped",
    "files/" + "e" * 90 + "/" + "f" * 90,
)


def _set(**facts: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest.update(facts)


_MANIFESTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "of a later format": _set(format=2, version="9.0"),
    "of a later schema": _set(schema_version=10_000),
    "of no format": lambda manifest: manifest.pop("format"),
    "of a format that is no number": _set(format="1"),
    "without parts": _set(parts=[]),
    "with a part twice": lambda manifest: manifest["parts"].append(manifest["parts"][0]),
    "with a size below nothing": lambda manifest: manifest["parts"][0].update(size_bytes=-1),
    "larger than any disk": lambda manifest: manifest["parts"][0].update(size_bytes=2**50),
    "with another digest of a part": lambda manifest: manifest["parts"][0].update(sha256="0" * 64),
    "with another digest of a table": lambda manifest: manifest["tables"][0].update(sha256="0" * 64),
    "with a table more": lambda manifest: manifest["tables"].append(
        {"name": "more", "rows": 0, "sha256": "0" * 64}
    ),
    "with a table less": lambda manifest: manifest["tables"].pop(),
    "with an id that is a path": _set(id="../../escaped"),
}


def _of(parts: dict[str, bytes], others: dict[str, bytes]) -> dict[str, bytes]:
    """Return parts with a manifest that tells of them all, as they are."""
    together = parts | others
    manifest: dict[str, Any] = json.loads(parts[_MANIFEST])
    manifest["parts"] = [
        {"name": name, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in together.items()
        if name != _MANIFEST
    ]
    return together | {_MANIFEST: json.dumps(manifest).encode()}


def _emptied(parts: dict[str, bytes]) -> bytes:
    """Return the database with other rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "other.db"
        path.write_bytes(parts["database.db"])
        connection = apsw.Connection(str(path))
        connection.execute("PRAGMA journal_mode = delete; DELETE FROM change").fetchall()
        connection.close()
        return path.read_bytes()


def _flipped(content: bytes, seed: int, first: int = 0) -> bytes:
    altered = bytearray(content)
    altered[random.Random(seed).randrange(first, len(altered))] ^= 1 << seed % 8
    return bytes(altered)


def _unpacked(archive: bytes) -> dict[str, bytes]:
    stream = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(archive))
    with tarfile.open(fileobj=io.BytesIO(stream.read())) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]


def _packed(parts: dict[str, bytes], *, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Pack parts, whose manifest comes first; the others are of this kind."""
    out = io.BytesIO()
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
    with compressor.stream_writer(out, closefd=False) as stream:
        for name in sorted(parts, key=lambda name: name != _MANIFEST):
            content = parts[name]
            header = tarfile.TarInfo(name)
            header.size = len(content)
            if name != _MANIFEST:
                header.type, header.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
            stream.write(header.tobuf(tarfile.GNU_FORMAT))
            stream.write(content + bytes(-len(content) % _BLOCK))
        stream.write(bytes(2 * _BLOCK))
    return out.getvalue()


def _tar(files: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return out.getvalue()
