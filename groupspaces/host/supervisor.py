"""The parent of a host's workers: it starts them, kills one that hangs, replaces one that dies, passes signals on, and ends when
they have ended.

Owns nothing else, so that nothing else can take it down: no event loop, no thread, no database. Workers are forked from it and share
the memory of what it had imported. They do not outlive it: the kernel kills them with it where it can (Linux), and everywhere they
see the end of a pipe.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

# A worker that lived less long died of its start: the next one waits, longer each time.
_SHORT_LIFE_S = 5.0
_PAUSE_S, _MAX_PAUSE_S = 0.5, 10.0
# A worker says every second that it is alive. One that has been silent for this long may hold what the others wait for: it is killed.
_SILENT_S = 15.0
_LOOK_S = 5.0
# Beyond what a worker itself allows for its end.
_KILL_AFTER_S = 5.0

_PR_SET_PDEATHSIG = 1
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class _Worker:
    pid: int = 0  # 0 while it waits to be started
    started_s: float = 0.0
    pause_s: float = _PAUSE_S
    due_s: float = 0.0


class Supervisor:
    """Keep `count` workers running until a signal comes."""

    def __init__(
        self,
        count: int,
        run: Callable[[int, int], int],
        *,
        is_final: Callable[[int], bool],
        alive_at_s: Callable[[int], float],
        on_stop: Callable[[], None],
        on_ended: Callable[[int], None],
        stop_timeout_s: float,
    ) -> None:
        """Workers run `run(number, lifeline)` and end with what it returns; `lifeline` is readable once we are gone.

        An exit code for which `is_final` holds ends everything with that code. `alive_at_s(number)` is when a worker last said
        that it is alive, by the monotonic clock, 0 while nothing is expected of it. `on_stop` is called once, when the end begins;
        `on_ended(number)` whenever a worker has ended.
        """
        self._run = run
        self._is_final = is_final
        self._alive_at_s = alive_at_s
        self._looked_s = self._awake_since_s = time.monotonic()
        self._on_stop = on_stop
        self._on_ended = on_ended
        self._stop_timeout_s = stop_timeout_s
        self._workers = [_Worker() for _ in range(count)]
        self._stopping_since_s: float | None = None
        self._exit_code = 0

    def run(self) -> int:
        """Return the exit code once all have ended."""
        wake, woken = socket.socketpair()
        lifeline, ours = os.pipe()
        for end in (wake, woken):
            end.setblocking(False)
        for number in (*_STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, _noted)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        # What is there now is shared with the workers for as long as nobody writes to it, and collecting would.
        gc.collect()
        gc.freeze()
        try:
            while self._tend(lifeline, ours, (wake, woken)):
                select.select([woken], [], [], self._wait_s())
                self._take(woken)
        finally:
            signal.set_wakeup_fd(-1)
            wake.close()
            woken.close()
            os.close(lifeline)
            os.close(ours)
        return self._exit_code

    # --- what happens ---

    def _tend(self, lifeline: int, ours: int, sockets: tuple[socket.socket, socket.socket]) -> bool:
        """Bury who has died and start who is due. False when nobody is left and nobody will come."""
        self._bury()
        now_s = time.monotonic()
        self._end_silent(now_s)
        if self._stopping_since_s is None:
            for number, worker in enumerate(self._workers):
                if not worker.pid and worker.due_s <= now_s:
                    self._start(number, worker, lifeline, ours, sockets)
        elif now_s - self._stopping_since_s > self._stop_timeout_s + _KILL_AFTER_S:
            self._signal(signal.SIGKILL)
        return self._stopping_since_s is None or any(worker.pid for worker in self._workers)

    def _take(self, woken: socket.socket) -> None:
        try:
            numbers = woken.recv(256)
        except BlockingIOError:
            return
        if any(number in _STOP_SIGNALS for number in numbers):
            self._stop()

    def _stop(self) -> None:
        """Have all workers end; asked again, they hurry."""
        if self._stopping_since_s is None:
            self._stopping_since_s = time.monotonic()
            self._on_stop()
        self._signal(signal.SIGTERM)

    def _end_silent(self, now_s: float) -> None:
        """Kill who hangs. After a pause of the whole machine, in which we ourselves did not look, all get their time again."""
        if now_s - self._looked_s > 2 * _LOOK_S:
            self._awake_since_s = now_s
        self._looked_s = now_s
        for number, worker in enumerate(self._workers):
            alive_at_s = self._alive_at_s(number)
            if worker.pid and alive_at_s and now_s - max(alive_at_s, self._awake_since_s) > _SILENT_S:
                sys.stderr.write(
                    f"groupspaces: worker {number} has hung for {_SILENT_S:g} s and is killed.\n"
                )
                os.kill(worker.pid, signal.SIGKILL)

    def _wait_s(self) -> float:
        now_s = time.monotonic()
        if self._stopping_since_s is not None:
            over_s = self._stopping_since_s + self._stop_timeout_s + _KILL_AFTER_S
            return min(_LOOK_S, max(0.01, over_s - now_s))
        due = [worker.due_s for worker in self._workers if not worker.pid]
        return min(_LOOK_S, max(0.0, min(due) - now_s)) if due else _LOOK_S

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)

    # --- workers ---

    def _bury(self) -> None:
        # Also what is none of ours: as the first process of a container we are given what dead workers leave behind.
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for number, worker in enumerate(self._workers):
                if worker.pid == pid:
                    worker.pid = 0
                    self._on_ended(number)
                    self._judge(number, worker, os.waitstatus_to_exitcode(status))

    def _judge(self, number: int, worker: _Worker, code: int) -> None:
        if self._stopping_since_s is not None:
            return
        if self._is_final(code):
            self._exit_code = code
            self._stop()
            return
        now_s = time.monotonic()
        lived_s = now_s - worker.started_s
        worker.pause_s = min(worker.pause_s * 2, _MAX_PAUSE_S) if lived_s < _SHORT_LIFE_S else _PAUSE_S
        worker.due_s = now_s if lived_s >= _SHORT_LIFE_S else now_s + worker.pause_s
        sys.stderr.write(f"groupspaces: worker {number} ended with {code} and is replaced.\n")

    def _start(
        self,
        number: int,
        worker: _Worker,
        lifeline: int,
        ours: int,
        sockets: tuple[socket.socket, socket.socket],
    ) -> None:
        parent_pid = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        worker.started_s = time.monotonic()
        worker.pid = os.fork()
        if worker.pid:
            return
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            # Ctrl-C reaches all processes of a terminal; only the parent acts on it, and tells us.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(ours)
            for end in sockets:
                end.close()
            _die_with(parent_pid)
            code = self._run(number, lifeline)
        except Exception:  # noqa: BLE001  (the end of this process)
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _noted(*_: object) -> None:
    """Let a signal do no more than wake us."""


def _die_with(parent_pid: int) -> None:
    """Be killed when our parent dies, on Linux; end at once when it has died already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(0)
