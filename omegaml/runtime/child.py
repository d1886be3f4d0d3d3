"""A process that carries out tasks, so that a task that ends its process takes nobody else with it.

`Child` is the parent's side; `python -m omegaml.runtime.child` the other. They speak JSON lines over the
child's stdin and stdout: first where the database is against a word that it is ready, then one task per line
against one answer per line.
What user code prints goes to stderr, a pipe as well, and what it logs too; it reads from nothing.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import secrets
import select
import signal
import stat
import subprocess
import sys
import tempfile
import termios
import threading
import time
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from omegaml.errors import OmegaError, TaskFailed, TimedOut
from omegaml.runtime import folders
from omegaml.runtime import limits as use
from omegaml.runtime.base import Task, error_to_doc, short
from omegaml.runtime.limits import Limits, Watch

if TYPE_CHECKING:
    from omegaml.omega import Omega
    from omegaml.runtime.output import Output

#: Seconds between looks whether the process lives: its pipe stays open in what it has started itself.
LOOK = 0.25

#: Bytes of output that are read at a time; a pipe holds no more.
CHUNK = 1 << 16

log = logging.getLogger("omegaml.runner")

_run = secrets.token_bytes(16)


class Child:
    """One process for one database; it is started on first use and again after it died."""

    def __init__(
        self,
        mongo_url: str,
        bucket: str | None = None,
        closed: bool = False,
        spare: subprocess.Popen[bytes] | None = None,
        limits: Limits | None = None,
        of: int = 1,
    ) -> None:
        """Args:
        closed: it serves somebody else than whoever started this, and gets neither that person's settings
            nor, where this process is root, its rights.
        spare: a process of `spawn` to begin with.
        limits: of each of its tasks.
        of: how many children share the processors.
        """
        self._of = of
        self.mongo_url = mongo_url
        self._limits = limits or Limits()
        self._is_closed = closed
        self._spare = spare
        # the URL holds a password: it goes through the pipe, not the argument list or the environment
        hello: dict[str, Any] = {"mongo_url": mongo_url, "bucket": bucket, "path": sys.path}
        hello["limits"] = self._limits.to_json()
        if closed and may_give_up_rights():
            hello["uid"] = uid_of(mongo_url)
        self._hello = json.dumps(hello)
        self._process: subprocess.Popen[bytes] | None = None
        self._reason: OmegaError | None = None
        self._is_ready = False
        self._output: Output | None = None

    @property
    def pid(self) -> int | None:
        """The process's id while there is one."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process, so that the first task need not wait for it."""
        if self._process is not None:
            if self._process.poll() is None:
                return
            self.close()
        self._is_ready = False
        spare, self._spare = self._spare, None
        self._process = spare or spawn(self._is_closed, self._of)
        self._write(self._hello)

    def run(self, task: Task, output: Output | None = None) -> dict[str, Any]:
        """Carry out a task and return its answer; if the process dies of it, the answer says so.

        Args:
            output: is given what the task prints and logs.
        """
        self._reason = None
        text = task.to_json()
        self._hear_rest()  # what was said after the end of the task before
        self._output = output
        try:
            return self._run(task, text)
        finally:
            self._output = None

    def _run(self, task: Task, text: str) -> dict[str, Any]:
        self.start()
        # a limit is for the task, and what it loads: that Python must start does not count
        self._is_ready = self._is_ready or self._read() is not None
        line = None
        if self._is_ready:
            self._write(text)
            line = self._read(task)
        self._hear_rest()
        if line is not None:
            answer: dict[str, Any] = json.loads(line)
        else:
            error = self._reason or self._death(task)
            self.close()
            answer = {"error": error_to_doc(error), "temporary": []}
        if limit := answer.get("error", {}).get("details", {}).get("limit"):
            message = short(answer["error"]["message"])
            log.info("task %s reached its limit (%s): %s", short(task.id), short(limit), message)
        return answer

    def kill(self, reason: OmegaError | None = None) -> None:
        """Kill the process from another thread; the task it has in hand is answered with `reason`."""
        self._reason = reason
        if self._process is not None:
            kill_all(self._process.pid)

    def close(self) -> None:
        """End the process and all it has started, at once."""
        process, self._process = self._process, None
        if process is None:
            return
        kill_all(process.pid)
        process.wait()
        folders.remove_of(process.pid)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _write(self, line: str) -> None:
        assert self._process is not None and self._process.stdin is not None
        data = memoryview(f"{line}\n".encode())
        try:
            while data:
                data = data[self._process.stdin.write(data) or 0 :]
        except BrokenPipeError:
            pass  # it is dead; the read that follows tells how

    def _read(self, task: Task | None = None) -> bytes | None:
        """Return the next line; None if the process died first, or was killed as its task used too much."""
        process = self._process
        assert process is not None and process.stdout is not None
        pipe, parts = process.stdout.fileno(), list[bytes]()
        ready = select.poll()
        ready.register(pipe, select.POLLIN)
        if process.stderr is not None and not process.stderr.closed:
            ready.register(process.stderr, select.POLLIN)
        seconds = None if task is None else self._limits.of(task)
        end = None if seconds is None else time.monotonic() + seconds
        memory = None if task is None else self._limits.memory
        watch = None if memory is None else Watch(process.pid, memory)
        while True:
            dead = process.poll() is not None
            events = [fd for fd, _ in ready.poll(0 if dead else LOOK * 1000)]
            if any(fd != pipe for fd in events) and not self._hear():
                ready.unregister(next(fd for fd in events if fd != pipe))
            if pipe in events:
                parts.append(os.read(pipe, 1 << 20))
                if parts[-1].endswith(b"\n"):
                    return b"".join(parts)
                if not parts[-1]:
                    return None
            elif dead:
                return None
            if task is not None and end is not None and time.monotonic() > end:
                self.kill(self._reason or use.too_long(task, self._limits))
                end = None
            if task is not None and memory is not None and watch is not None and watch.is_exceeded():
                self.kill(self._reason or use.too_large(task, memory))
                watch = None

    def _hear(self, most: int = CHUNK) -> int:
        """Read what the task says, which must have said something; 0 at the end of that."""
        assert self._process is not None and self._process.stderr is not None
        data = os.read(self._process.stderr.fileno(), most)
        if self._output is not None and data:
            self._output.add(data)
        return len(data)

    def _hear_rest(self) -> None:
        """Read what was said until now, without waiting for more."""
        if self._process is None or self._process.stderr is None:
            return
        waiting = fcntl.ioctl(self._process.stderr.fileno(), termios.FIONREAD, bytes(4))
        left = int.from_bytes(waiting, sys.byteorder)
        while left > 0:
            left -= self._hear(left) or left

    def _death(self, task: Task) -> OmegaError:
        assert self._process is not None
        try:
            code = self._process.wait(LOOK)
        except subprocess.TimeoutExpired:
            return TaskFailed(f"{task.what} closed the pipe to its parent")
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return TaskFailed(
            f"{task.what} ended its process ({how})",
            hint=use.killed_by(code, self._limits),
            exit_code=code,
        )


def spawn(is_closed: bool, of: int) -> subprocess.Popen[bytes]:
    """Start the process of a child, which waits to be told whose; what it needs is loaded meanwhile.

    Its libraries are told to use one of `of` parts of the processors, unless the environment says otherwise.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "omegaml.runtime.child", *(["--load"] if is_closed else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env={**_threads(of), **_environment(is_closed)},
        start_new_session=True,  # Ctrl-C is for the parent to handle; and all it starts is killed with it
    )


def kill_all(group: int) -> None:
    """Kill a process and all it has started."""
    started = use.family(group)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    for pid in started:  # what has left the group, as kernels of notebooks do
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _threads(of: int) -> dict[str, str]:
    # Threads that wait for each other do so by spinning: for a grid search on iris, two processes with two
    # threads each took seventeen times the processor time of one thread each, on two processors.
    most = str(max(1, len(os.sched_getaffinity(0)) // of))
    libraries = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR")
    return {f"{library}_NUM_THREADS": most for library in libraries} | {"OMP_WAIT_POLICY": "PASSIVE"}


def _environment(is_closed: bool) -> dict[str, str]:
    # settings come through the pipe: the child holds the one credential that its tasks need
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMEGA", "DJANGO"))}
    if is_closed:
        return {**kept, "OMEGA_CONFIG": os.devnull}
    return {**kept, **{k: v for k, v in os.environ.items() if k == "OMEGA_HOME"}}


def uid_of(mongo_url: str) -> int:
    """A user id, and group id, that no person or service of a machine has: one for each database.

    It is another in each run: who could work it out could choose a userid that has somebody else's.
    """
    from omegaml.mongo import database_name

    name = database_name(mongo_url).encode()
    return 1_000_000_000 + int.from_bytes(blake2b(name, key=_run, digest_size=8).digest()) % 1_000_000_000


@cache
def may_give_up_rights() -> bool:
    """Whether this is root, and what is installed can be read by others, as children need to."""
    found = [Path(entry).resolve() for entry in (*sys.path, sys.prefix) if entry and os.path.exists(entry)]
    folders = {folder for path in found for folder in (path, *path.parents)}
    return os.getuid() == 0 and all(folder.stat().st_mode & 0o001 for folder in folders if folder.is_dir())


def _give_up_rights(uid: int) -> None:
    os.fchown(2, uid, uid)  # so that it can be opened again, as /dev/stderr
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.umask(0o077)  # its temporary files lie beside those of others
    # the home of root is closed to it now, and in one that others write to it would run what they put there
    folder = os.path.join(tempfile.gettempdir(), f"omega-{uid}")
    with suppress(FileExistsError):
        os.mkdir(folder)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
        folder = tempfile.mkdtemp(prefix="omega-")  # somebody else was there before
    os.environ |= {"HOME": folder, "OMEGA_HOME": os.path.join(folder, ".omegaml")}


def main() -> None:
    """Serve tasks until the parent is gone."""
    tasks, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    # read in a thread of its own, so that the end of the parent ends a long task as well
    threading.Thread(target=_forward, args=(tasks, lines), daemon=True).start()

    import omegaml
    from omegaml.runtime import logger

    logger.capture()
    if "--load" in sys.argv:
        _load()
    hello = json.loads(lines.get())
    if "uid" in hello:
        _give_up_rights(hello["uid"])
    # models are found by the modules that define them, wherever the parent found those
    sys.path += [entry for entry in hello["path"] if entry not in sys.path]
    # as the default, so that `import omegaml as om` in a model means the same platform
    om = omegaml.setup(mongo_url=hello["mongo_url"], bucket=hello["bucket"])
    limits = Limits(**hello["limits"])
    if limits != Limits():  # they are for tasks, not for what every task needs
        _load()
    me = os.getpid()
    answers.write("ready\n")
    answers.flush()
    while True:
        answer = _carry_out(om, Task.from_json(lines.get()), limits)
        logger.flush()
        if os.getpid() != me:
            os._exit(0)  # the model forked and this is the copy
        answers.write(f"{answer}\n")
        answers.flush()


def _load() -> None:
    for module in ("pandas", "sklearn.pipeline", "omegaml.store", "omegaml.runtime.actions"):
        with suppress(ImportError):
            import_module(module)


def _carry_out(om: Omega, task: Task, limits: Limits) -> str:
    from omegaml.runtime import actions

    held = use.Held(limits, task)
    try:
        with held:
            answer = actions.answer(om, task)
        return json.dumps(held.explained(answer))
    except TimedOut as error:  # it came when the task was about to end
        return json.dumps({"error": error_to_doc(error), "temporary": []})
    except MemoryError:
        return json.dumps({"error": error_to_doc(use.too_large(task, limits.memory or 0)), "temporary": []})


def _forward(stream: IO[str], lines: queue.SimpleQueue[str]) -> None:
    for line in stream:
        lines.put(line)
    folders.remove_of(os.getpid())
    os._exit(0)


if __name__ == "__main__":
    main()
