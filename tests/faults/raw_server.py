"""A loopback server below HTTP: a test writes every byte of an answer itself, as slowly as it likes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

#: Sends bytes and tells whether the client still listens.
Send = Callable[[bytes], bool]
Answer = Callable[["Peer"], None]


class Peer:
    """One connection: the head of the request that came, and a way to answer."""

    def __init__(self, connection: socket.socket, head: bytes, stopping: threading.Event) -> None:
        self.head = head
        self._connection, self._stopping = connection, stopping

    def send(self, data: bytes) -> bool:
        """Send bytes; False if the client has gone or the test is over."""
        try:
            self._connection.sendall(data)
        except OSError:
            return False
        return not self._stopping.is_set()

    def drip(self, pieces: Iterator[bytes], pause_s: float = 0.05) -> None:
        """Send pieces with pauses, until the client goes."""
        for piece in pieces:
            if not self.send(piece) or self._stopping.wait(pause_s):
                return


class RawServer:
    """Answers the n-th connection by the n-th answer, further ones by the last."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = answers
        self._stopping = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=32)
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                answer = self._answers[min(self.connections, len(self._answers) - 1)]
                self.connections += 1
                threading.Thread(target=self._answer, args=(connection, answer), daemon=True).start()

    def _answer(self, connection: socket.socket, answer: Answer) -> None:
        with contextlib.suppress(OSError), connection:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(65536)
                if not piece:
                    return
                head += piece
            answer(Peer(connection, head, self._stopping))
