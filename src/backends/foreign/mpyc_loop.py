"""An asyncio event loop without clock, sockets or threads: it runs what is ready, then stops.

MPyC's coroutines wait for nothing but messages of the other parties, so "nothing is ready" means
"this party has said all it can say before it hears from others": the end of a round."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any


class QuietLoop(asyncio.AbstractEventLoop):
    """What futures and tasks need of a loop, and no more. Exceptions of callbacks propagate to
    `run_until_idle`."""

    def __init__(self) -> None:
        self._ready: deque[tuple[asyncio.Handle, Context, Callable[..., Any], tuple[Any, ...]]] = (
            deque()
        )

    def run_until_idle(self) -> None:
        """Runs callbacks until none is left."""
        while self._ready:
            handle, context, callback, args = self._ready.popleft()
            if not handle.cancelled():
                context.run(callback, *args)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        context = context or copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append((handle, context, callback, args))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return False

    def is_closed(self) -> bool:
        return False

    def stop(self) -> None:
        """MPyC stops the loop before it raises; the exception itself gets out of
        `run_until_idle`."""

    def set_exception_handler(self, handler: Any) -> None:
        """Not needed: nothing is caught here."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """asyncio reports futures whose exception nobody fetched; their cause was raised before."""
