"""A process that carries out tasks, so that a task that ends its process takes nobody else with it.

`Child` is the parent's side; `python -m omegaml.runtime.child` the other. They speak JSON lines over the
child's stdin and stdout: first where the database is, then one task per line against one answer per line.
What user code prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, Any

from omegaml.errors import TaskFailed
from omegaml.runtime.base import Task, error_to_doc


class Child:
    """One process for one database; it is started on first use and again after it died."""

    def __init__(self, mongo_url: str, bucket: str | None = None) -> None:
        # the URL holds a password: it goes through the pipe, not the argument list
        self._hello = json.dumps({"mongo_url": mongo_url, "bucket": bucket, "path": sys.path})
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the process, so that the first task need not wait for it."""
        if self._process is not None and self._process.poll() is None:
            return
        self._process = subprocess.Popen(
            [sys.executable, "-m", "omegaml.runtime.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the parent to handle
        )
        self._write(self._hello)

    def run(self, task: Task) -> dict[str, Any]:
        """Carry out a task and return its answer; if the process dies of it, the answer says so."""
        self.start()
        assert self._process is not None and self._process.stdout is not None
        self._write(task.to_json())
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        error = TaskFailed(
            f"{task.action} of model {task.name!r} ended its process ({how})",
            hint="SIGKILL is most often the system running out of memory"
            if code == -signal.SIGKILL
            else None,
            exit_code=code,
        )
        return {"error": error_to_doc(error), "temporary": []}

    def kill(self) -> None:
        """Kill the process from another thread; the task it has in hand is answered as failed."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End the process, at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with suppress(BrokenPipeError):
                        stream.close()
            self._process = None

    def _write(self, line: str) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it is dead; the read that follows tells how


def main() -> None:
    """Serve tasks until the parent is gone."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    # read in a thread of its own, so that the end of the parent ends a long task as well
    threading.Thread(target=_read, args=(sys.stdin, lines), daemon=True).start()

    from omegaml.omega import Omega
    from omegaml.runtime import actions

    hello = json.loads(lines.get())
    # models are found by the modules that define them, wherever the parent found those
    sys.path += [entry for entry in hello["path"] if entry not in sys.path]
    om = Omega(mongo_url=hello["mongo_url"], bucket=hello["bucket"])
    while True:
        answer = _answer(actions, om, Task.from_json(lines.get()))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _answer(actions: Any, om: Any, task: Task) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = actions.answer(om, task)
        return answer
    except Exception as error:
        import traceback

        failed = TaskFailed(
            f"{task.action} of model {task.name!r} failed: {type(error).__name__}: {error}",
            traceback=traceback.format_exc(),
        )
        return {"error": error_to_doc(failed), "temporary": []}


def _read(stream: IO[str], lines: queue.SimpleQueue[str]) -> None:
    for line in stream:
        lines.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
