"""A wire that carries only so much: for telling what is slow from what hangs."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator


@contextlib.contextmanager
def throttled(target_port: int, *, bytes_per_s: int) -> Iterator[int]:
    """A wire to the primary that carries only so much towards us."""

    def carry(source: socket.socket, target: socket.socket, rate: int) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(16_384):
                target.sendall(part)
                if rate:
                    time.sleep(len(part) / rate)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", target_port))
                sockets.extend((near, far))
                for arguments in ((near, far, 0), (far, near, bytes_per_s)):
                    threads.append(threading.Thread(target=carry, args=arguments))
                    threads[-1].start()

    sockets: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for one in sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for one in sockets:
                one.close()
