"""What systemd is told: sd_notify(3), which is one datagram."""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> bool:
    """Send lines such as ``READY=1`` or ``STATUS=...``.

    Returns
    -------
    bool
        False where no service manager listens (no ``NOTIFY_SOCKET``) or it could not be reached.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.sendto("\n".join(lines).encode(), address)
    except OSError:
        return False
    return True


def watchdog_interval_s() -> float | None:
    """Return how often to send ``WATCHDOG=1``, s: half of what the unit allows; None without a watchdog."""
    allowed = os.environ.get("WATCHDOG_USEC", "")
    if not allowed.isdigit() or int(allowed) == 0:
        return None
    return int(allowed) * 1e-6 / 2
