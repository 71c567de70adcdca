"""Encryption of an archive by a passphrase, in the format of `age` (https://age-encryption.org/v1).

Owns the sealed file: a tar file of `key.age`, a key made for this archive and locked with the passphrase, and `archive.tar.zst.age`, which that
key opens. So neither side ever holds an archive in memory, and the standard tools open it without us:
`tar xf FILE; age -d key.age >key; age -d -i key archive.tar.zst.age | tar x --zstd`. All of this blocks.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import BinaryIO, cast

import pyrage

from groupspaces.ops.backups.manifest import ArchiveRefused

_KEY, _SEALED = "key.age", "archive.tar.zst.age"
# A locked key has 500 bytes.
_KEY_BYTES = 4_096
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class PassphraseNeeded(ArchiveRefused):
    """The archive is encrypted, and the passphrase is missing or another one."""

    default_code = "PASSPHRASE_NEEDED"


def seal(archive: Path, sealed: Path, passphrase: str) -> None:
    """Encrypt an archive into a new file; needs room for two more of it for a moment. Raises OSError."""
    identity = pyrage.x25519.Identity.generate()
    encrypted = sealed.with_name(f"{sealed.name}.part")
    with archive.open("rb") as source, encrypted.open("xb") as out:
        pyrage.encrypt_io(source, out, [identity.to_public()])
    key = sealed.with_name(f"{sealed.name}.key")
    key.write_bytes(pyrage.passphrase.encrypt(str(identity).encode(), passphrase))
    with tarfile.open(sealed, "x:", format=tarfile.GNU_FORMAT) as tar:
        for path, name in ((key, _KEY), (encrypted, _SEALED)):
            found = tarfile.TarInfo(name)
            found.size, found.mode = path.stat().st_size, 0o600
            with path.open("rb") as file:
                tar.addfile(found, file)
            path.unlink()


def is_sealed(path: Path) -> bool:
    """Tell whether a file is not an archive as it is; whether it is a sealed one is said by `unseal`."""
    with path.open("rb") as file:
        return file.read(len(_ZSTD_MAGIC)) != _ZSTD_MAGIC


def unseal(sealed: Path, archive: Path, passphrase: str) -> None:
    """Decrypt a sealed archive into a new file. Raises PassphraseNeeded, ArchiveRefused and OSError."""
    with sealed.open("rb") as file:
        key_bytes = _begin(file, _KEY)
        if key_bytes > _KEY_BYTES:
            raise ArchiveRefused("The key of the archive is no key of ours.")
        locked = file.read(key_bytes)
        file.seek(-key_bytes % tarfile.BLOCKSIZE, os.SEEK_CUR)
        if not passphrase:
            raise PassphraseNeeded(
                "This archive is encrypted. Give its passphrase as backup.passphrase (BACKUP_PASSPHRASE)."
            )
        try:
            key = pyrage.passphrase.decrypt(locked, passphrase)
        except pyrage.DecryptError as error:
            raise PassphraseNeeded("This archive was encrypted with another passphrase.") from error
        sealed_bytes = _begin(file, _SEALED)
        try:
            identity = pyrage.x25519.Identity.from_str(key.decode())
            with archive.open("xb") as out:
                pyrage.decrypt_io(cast("BinaryIO", _Bounded(file, sealed_bytes)), out, [identity])
        except (pyrage.DecryptError, pyrage.IdentityError, UnicodeDecodeError) as error:
            raise ArchiveRefused("The archive is damaged: it cannot be decrypted.") from error
        except OSError as error:
            if error.errno is not None:
                raise
            # As the library tells of what is cut off or altered, which the disk has no part in.
            raise ArchiveRefused("The archive is damaged or cut off: it cannot be decrypted.") from error


class _Bounded:
    """The next so many bytes of a file."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file, self._left = file, size_bytes

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        found = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(found)
        return found


def _begin(file: BinaryIO, name: str) -> int:
    """Read the header of the file that has to come now, and return how long it is."""
    try:
        found = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise ArchiveRefused("This is no backup of Group Spaces, or it is damaged or cut off.") from error
    if found.name != name or found.type != tarfile.REGTYPE:
        raise ArchiveRefused("This is no backup of Group Spaces.")
    return found.size
