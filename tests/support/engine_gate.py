"""A socket in front of the container engine that can be shut and opened, as if the engine stopped and came back."""

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

ENGINE = Path("/var/run/docker.sock")
BLOCK = 65536


class EngineGate:
    """Passes connections on to the real engine while it is open. Shut, nobody listens and every connection is cut."""

    def __init__(self, path: Path, engine: Path = ENGINE) -> None:
        self.path = path
        self._engine = engine
        self._listener: socket.socket | None = None
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()

    def open(self) -> None:
        """Listen."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """Stop listening and cut every connection."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self.path.unlink(missing_ok=True)
        with self._lock:
            cut, self._ends = [listener, *self._ends], []
        for end in cut:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(str(self._engine))
                with self._lock:
                    self._ends += [here, there]
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(BLOCK):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
