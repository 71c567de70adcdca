"""What a machine does to the programs on it: a disk that fills up, and a wall clock that jumps.

Each says honestly when this machine cannot do it. The disk is a small tmpfs (mounting takes root on Linux). The clock is the C
library's: a few lines of C, compiled when the test starts and preloaded into the instance, add an offset that can change while it
runs; monotonic time goes on, as it does when a time server corrects a clock. The product itself has no switch for either.
"""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

from .keeper import Keeper

_FILLER = "filler"
_CHUNK = b"\0" * 4096
_COMPILE_TIMEOUT_S = 60.0
_MOUNT_TIMEOUT_S = 20.0
_OFFSET_VARIABLE = "WALL_CLOCK_OFFSET_FILE"
_CLOCK_C = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *offset_s;
static int (*real_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void prepare(void) {
    const char *path = getenv("WALL_CLOCK_OFFSET_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (fd < 0) return;
    void *mapped = mmap(0, sizeof *offset_s, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED) offset_s = mapped;
    close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real_gettime) prepare();
    int outcome = real_gettime(clock, now);
    if (!outcome && offset_s && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *offset_s;
    return outcome;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    int outcome = clock_gettime(CLOCK_REALTIME, &exact);
    if (!outcome) { now->tv_sec = exact.tv_sec; now->tv_usec = exact.tv_nsec / 1000; }
    return outcome;
}

time_t time(time_t *now) {
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return (time_t)-1;
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""


class SmallDisk:
    """A file system of a few megabytes at `folder`, from `mount` until the keeper unmounts it."""

    def __init__(self, folder: Path, size_mb: int) -> None:
        self.folder = folder
        self._size_mb = size_mb
        self.impossible = _no_mounts()
        self.is_mounted = False

    def mount(self, keeper: Keeper) -> None:
        """Mount it, where that is possible; else `impossible` says why not."""
        if self.impossible:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        keeper.mount(self.folder)
        options = f"size={self._size_mb}m,mode=0700"
        try:
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)],
                capture_output=True,
                text=True,
                check=False,
                timeout=_MOUNT_TIMEOUT_S,
            )
            said = done.stderr.partition("\n")[0]
        except (OSError, subprocess.TimeoutExpired) as error:
            said = str(error)
        self.is_mounted = os.path.ismount(self.folder)
        if not self.is_mounted:
            self.impossible = f"no small disk can be mounted: {said}"

    def fill(self) -> None:
        """Leave no room at all. Takes tenths of a second."""
        with (self.folder / _FILLER).open("ab", buffering=0) as filler:
            try:
                while True:
                    filler.write(_CHUNK)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def make_room(self) -> None:
        """Give back what `fill` took; nothing happens when it took nothing."""
        (self.folder / _FILLER).unlink(missing_ok=True)

    def save(self) -> None:
        """Copy what is on it, without what `fill` took, to a folder beside it that stays."""
        target = self.folder.with_name(f"{self.folder.name}-of-the-small-disk")
        shutil.copytree(
            self.folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(_FILLER, "*.sock")
        )


class WallClock:
    """The wall clock of one instance. `environment` has to be that of its program."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._offset = folder / "clock-offset"
        self._library = library
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a program take its time from here."""
        return {"LD_PRELOAD": str(self._library), _OFFSET_VARIABLE: str(self._offset)}

    def set(self, offset_s: int) -> None:
        """Let the clock be so much ahead (or, negative, behind) from now on."""
        # In place: the programs have the file mapped.
        fd = os.open(self._offset, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.pwrite(fd, struct.pack("q", offset_s), 0)
        finally:
            os.close(fd)


def compile_clock(folder: Path) -> tuple[Path | None, str]:
    """Compile the library that moves wall clocks (0.2 s). Returns it, or None and why it cannot be had here."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        return None, "wall clocks are moved on Linux with a C compiler only, and there is none"
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(_CLOCK_C)
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_COMPILE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return None, "the C compiler did not end"
    if done.returncode:
        return None, f"the C compiler cannot make a library: {done.stderr.strip()[-200:]}"
    return library, ""


def _no_mounts() -> str:
    if sys.platform != "linux":
        return "small disks are mounted on Linux only"
    return "" if os.geteuid() == 0 else "mounting a small disk takes root"
