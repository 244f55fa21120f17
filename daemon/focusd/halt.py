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

    def set(self) -> None:
        """Stop everything that moves."""
        self.word.value = 1
        super().set()

    def clear(self) -> None:
        """Allow motion again."""
        super().clear()
        self.word.value = 0
