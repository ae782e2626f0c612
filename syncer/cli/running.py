"""Run an asynchronous command under the signals that a person or a service manager sends.

The first SIGINT or SIGTERM cancels the work, which keeps all that was finished; a second one ends the process at once,
which is safe as well: nothing stands under a final name, or in the manifest, before it is durable.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Coroutine
from typing import Any

from syncer.cli.output import say

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPING = "[bold]Stopping:[/] keeping what is finished. Once more to stop at once."


def run(work: Coroutine[Any, Any, int], stopping: str = STOPPING, *, grace: float | None = None) -> int:
    """Run `work` to its exit code; 130 or 143 when SIGINT or SIGTERM stopped it. `stopping` is said then.

    With `grace`, the process ends so many seconds after the signal, even if a disk that hangs would hold it longer.
    """
    caught: list[int] = []

    async def supervised() -> int:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  we are inside it
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            if caught:
                os._exit(128 + number)
            caught.append(number)
            if stopping:
                say(f"\n{stopping}")
            if grace is not None:
                last_resort = threading.Timer(grace, os._exit, (128 + number,))
                last_resort.daemon = True
                last_resort.start()
            task.cancel()

        for number in SIGNALS:
            loop.add_signal_handler(number, stop, number)
        return await work

    gc.freeze()  # what is imported by now stays: the collector need not go through it again and again
    gc.set_threshold(700)  # as Python has it; a picture that is held by a cycle must not wait for long
    try:
        code = asyncio.run(supervised())
    except asyncio.CancelledError:
        if not caught:
            raise
        return 128 + caught[0]
    return 128 + caught[0] if caught else code
