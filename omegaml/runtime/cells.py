"""What executes the cells of a notebook: it keeps so much of what they say, and stores that now and then."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from typing import Any

from nbclient import NotebookClient
from nbformat.v4 import new_output

MAX_CELL = 10 << 20
"""Characters of output that a cell keeps."""

MAX_NOTEBOOK = 64 << 20
"""Characters of output that all cells of a notebook keep together."""

MAX_ERROR = 100_000
"""Characters of a traceback that are kept, its last ones."""

LOOK = 1.0
"""Seconds between looks whether there is something new to be kept."""

EVERY, SHARE = 2.0, 0.05
"""Seconds between notebooks that are kept while they are executed, and the share of the time for that."""

log = logging.getLogger("notebook")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def plain(text: str, most: int = MAX_ERROR) -> str:
    """Return the end of a text without its colours."""
    return _ANSI.sub("", text[-most:])


class Keeper:
    """Stores a notebook now and then while it is executed, in a thread of its own.

    Args:
        store: does it; what goes wrong is tried again the next time.
    """

    def __init__(self, store: Callable[[Any], None]) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1)
        self._storing: Future[None] | None = None
        self._next = 0.0

    def offer(self, notebook: Any) -> bool:
        """Store the notebook as it is now, if it is time to; whether it was."""
        if time.monotonic() < self._next or (self._storing is not None and not self._storing.done()):
            return False
        self._storing = self._thread.submit(self._keep, deepcopy(notebook))
        return True

    def close(self) -> None:
        """Wait for what is being stored."""
        self._thread.shutdown()

    def _keep(self, notebook: Any) -> None:
        began = time.monotonic()
        try:
            self._store(notebook)
        except Exception as error:
            log.warning("what there is of the notebook could not be kept: %s", error)
        now = time.monotonic()
        self._next = now + max(EVERY, (now - began) / SHARE)


class Client(NotebookClient):
    """Executes the cells; knows at which one it is, from 1 on, and how much output there is."""

    def __init__(self, notebook: Any, keeper: Keeper, **options: Any) -> None:
        super().__init__(notebook, **options)
        self.owns_km = True
        self.log.setLevel(logging.WARNING)  # the log is for what the cells say
        self.cell = 0
        self._keeper = keeper
        self._is_new = False
        self._timer: asyncio.TimerHandle | None = None
        self._has_begun = threading.Event()
        self._before = 0  # kept of the cells before
        self._kept = 0  # and of this one
        self._cut = 0

    def run(self, **how: Any) -> None:
        """Execute all cells; `how` the kernel is started, as for `execute`.

        What a signal raises in this thread meanwhile, as at a soft limit, ends the kernel.
        """
        # not in this thread: what a signal raises in the midst of a loop may be lost
        with ThreadPoolExecutor(1) as thread:
            executed = thread.submit(asyncio.run, self._execute(how))
            try:
                executed.result()
            except BaseException:
                self._has_begun.wait()
                self.shutdown_kernel = "immediate"
                with suppress(RuntimeError):  # it has ended by itself
                    self._loop.call_soon_threadsafe(self._executing.cancel)
                raise

    async def _execute(self, how: dict[str, Any]) -> None:
        self._loop, self._executing = (
            asyncio.get_running_loop(),
            asyncio.ensure_future(self.async_execute(**how)),
        )
        self._has_begun.set()
        self._look()
        try:
            await self._executing
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _look(self) -> None:
        if self._is_new and self._keeper.offer(self.nb):
            self._is_new = False
        self._timer = self._loop.call_later(LOOK, self._look)

    async def async_execute_cell(self, cell: Any, cell_index: int, *args: Any, **more: Any) -> Any:
        self._before += self._kept
        self.cell, self._kept, self._cut, self._is_new = cell_index + 1, 0, 0, True
        try:
            return await super().async_execute_cell(cell, cell_index, *args, **more)
        finally:
            if self._cut:
                most = f"a cell keeps {MAX_CELL}, all of a notebook {MAX_NOTEBOOK}"
                text = f"[{self._cut} more characters were cut: {most}]\n"
                cell.outputs.append(new_output("stream", name="stderr", text=text))

    @property
    def _left(self) -> int:
        """How many characters more are kept."""
        return min(MAX_CELL, MAX_NOTEBOOK - self._before) - self._kept

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] == "update_display_data":
            more = self._growth(msg["content"])
            if more > self._left:
                self._cut += more
                return None
            self._kept += more
            self._is_new = True
        return super().process_message(msg, cell, cell_index)

    def _growth(self, content: Any) -> int:
        """How many characters more there are where this takes the place of what is shown."""
        id = str((content.get("transient") or {}).get("display_id"))
        places = self._display_id_map.get(id, {}).items()
        shown = [self.nb.cells[cell].outputs[n] for cell, numbers in places for n in numbers]
        return sum(_size(content) - _size(old) for old in shown)

    def clear_output(self, outs: list[Any], msg: Any, cell_index: int) -> None:
        super().clear_output(outs, msg, cell_index)
        self._kept = self._cut = 0

    def output(self, outs: list[Any], msg: Any, display_id: Any, cell_index: int) -> Any:
        content, kind = msg["content"], msg["msg_type"]
        self._is_new = True
        if kind == "stream":
            sys.stdout.write(content["text"])
        if kind == "error":
            # what went wrong is kept also where there is no room for more
            content["evalue"] = content["evalue"][:MAX_ERROR]
            content["traceback"] = [line[-MAX_ERROR:] for line in content["traceback"][-100:]]
            log.error("%s", plain("\n".join(content["traceback"])))
            return super().output(outs, msg, display_id, cell_index)
        size = _size(content)
        if size > self._left:
            self._cut += size
            if kind != "stream":
                return None
            content["text"] = content["text"][: max(0, self._left)]
            size = len(content["text"])
            self._cut -= size
            if not size:
                return None
        self._kept += size
        last = outs[-1] if outs else {}
        is_stream = kind == "stream" and not self.clear_before_next_output
        if is_stream and last.get("name") == content["name"]:
            # nbclient's own way takes time by the square of a line's length
            last["text"] += content["text"]
            return last
        return super().output(outs, msg, display_id, cell_index)


def _size(content: Any) -> int:
    return len(content.get("text", "")) + len(str(content.get("data", "")))
