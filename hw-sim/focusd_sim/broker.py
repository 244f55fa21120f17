"""An MQTT broker inside the process, on loopback, for a machine that has none."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from types import TracebackType
from typing import Any, Self

from focusd.errors import LinkError

_START_S = 10.0


def free_port(wanted: int = 1883) -> int:
    """Return `wanted` if nobody listens there, else a free port; loopback."""
    for port in (wanted, 0):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(sock.getsockname()[1])
    raise LinkError("no free port on the loopback interface")


class Broker:
    """amqtt on a thread of its own; speaks MQTT 3.1.1 only. A context manager.

    Parameters
    ----------
    port : int
        On 127.0.0.1.

    Raises
    ------
    LinkError
        When amqtt is not installed, or the broker does not start.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._over: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    @property
    def url(self) -> str:
        """Address for ``--broker``."""
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_S) or self._failure is not None:
            raise LinkError(
                f"the embedded broker did not start on port {self.port}: {self._failure or 'no answer'}; "
                "is the extra [sim] installed?"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._over is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_START_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001  # told to the thread that waits in __enter__
            self._failure = error
            self._ready.set()
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        from amqtt.broker import Broker as Amqtt

        class Courteous(Amqtt):  # type: ignore[misc]  # amqtt is untyped
            """Sends a client the retained messages of its own filters; amqtt 0.12 sends everybody's."""

            async def _publish_retained_messages_for_subscription(
                self, subscription: tuple[str, int], session: Any
            ) -> None:
                holders = self._subscriptions.get(subscription[0], [])
                if any(holder is session for holder, *_ in holders):
                    await super()._publish_retained_messages_for_subscription(subscription, session)

        # It warns, and raises, at every client that tries v5 first, which is what ours does.
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._loop.set_exception_handler(lambda _loop, _context: None)
        self._over = asyncio.Event()
        broker = Courteous(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await broker.start()
        self._ready.set()
        await self._over.wait()
        await broker.shutdown()
