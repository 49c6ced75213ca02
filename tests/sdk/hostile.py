"""A server that listens on a real socket and answers as it likes."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextmanager
def answering(
    parts: Callable[[], Iterable[bytes]],
    pause: float = 0.0,
    *,
    tls: ssl.SSLContext | None = None,
    got: list[bytes] | None = None,
    reads: bool = True,
) -> Iterator[str]:
    """Sends the parts to each who connects, ``pause`` seconds between them, then keeps quiet; gives its URL.

    What it has been sent before it answers is added to ``got``.
    """
    over = threading.Event()
    requests = [] if got is None else got
    threads: list[threading.Thread] = []

    def serve(accepted: socket.socket) -> None:
        with suppress(OSError), tls.wrap_socket(accepted, server_side=True) if tls else accepted as connection:
            if reads:
                requests.append(connection.recv(65_536))
            for part in parts():
                connection.sendall(part)
                if over.wait(pause):
                    return
            over.wait()

    def listen() -> None:
        with suppress(OSError):
            while True:
                threads.append(threading.Thread(target=serve, args=listener.accept()[:1]))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads.append(threading.Thread(target=listen))
        threads[0].start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            # Wakes the thread that waits for a connection.
            listener.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
