"""The topic tree: everything under ``focusd/<rig>/``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topics:
    """Topic names of one rig."""

    rig: str

    @property
    def root(self) -> str:
        """Prefix of every topic of the rig, without the last slash."""
        return f"focusd/{self.rig}"

    def of(self, name: str) -> str:
        """Full topic of ``state``, ``job``, ``image/final``..."""
        return f"{self.root}/{name}"

    @property
    def requests(self) -> str:
        """Filter that catches every request."""
        return f"{self.root}/request/#"

    def command(self, topic: str) -> str | None:
        """Return the command of a request or settings topic; None for any other."""
        if topic == self.of("set"):
            return "set"
        prefix = self.of("request/")
        return topic.removeprefix(prefix) if topic.startswith(prefix) else None

    def response(self, command: str) -> str:
        """Topic that answers `command`."""
        return self.of(f"response/{command}")
