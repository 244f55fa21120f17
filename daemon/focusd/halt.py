"""The emergency stop, as threads and compiled loops see it."""

from __future__ import annotations

import ctypes
import threading


class Halt(threading.Event):
    """An event that a loop outside Python can read as well.

    Attributes
    ----------
    word : ctypes.c_int
        1 while set, 0 while clear; a loop in C polls it by its address.
    """

    def __init__(self) -> None:
        super().__init__()
        self.word = ctypes.c_int(0)
        self._both = threading.Lock()

    def set(self) -> None:
        """Stop everything that moves."""
        with self._both:
            # Who finds the word set finds the event set.
            super().set()
            self.word.value = 1

    def clear(self) -> None:
        """Allow motion again."""
        with self._both:
            self.word.value = 0
            super().clear()
