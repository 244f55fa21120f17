"""The network cable between the daemon and its broker, which can be pulled."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from focusd.errors import LinkError

_CHUNK_BYTES = 65536


class Cable:
    """A relay on loopback to a broker; a context manager.

    Pulled, it hangs up on everybody and takes nobody in; plugged in again, it serves as before.

    Parameters
    ----------
    host : str
        The broker's.
    port : int
        The broker's.

    Raises
    ------
    LinkError
        No port to listen on.
    """

    def __init__(self, host: str, port: int) -> None:
        self._broker = (host, port)
        self._pulled = False
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        try:
            self._listener = socket.create_server(("127.0.0.1", 0))
        except OSError as error:
            raise LinkError(f"no port for the simulated cable: {error}") from error
        self.url = f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}"

    def pull(self, pulled: bool) -> None:
        """Pull the cable, or plug it in again; from any thread."""
        with self._lock:
            self._pulled = pulled
            ends, self._ends = (self._ends, set()) if pulled else (set(), self._ends)
        for end in ends:
            _hang_up(end)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="cable", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pull(True)
        _hang_up(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # closed: the end
                return
            try:
                far = socket.create_connection(self._broker, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                refused = self._pulled
                if not refused:
                    self._ends |= {near, far}
            if refused:
                _hang_up(near)
                _hang_up(far)
                continue
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), name="cable", daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                sink.sendall(data)
        for end in (source, sink):
            _hang_up(end)
            with self._lock:
                self._ends.discard(end)


def _hang_up(end: socket.socket) -> None:
    """Close a socket so that a thread waiting on it wakes."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
