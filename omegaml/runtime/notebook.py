"""Running a notebook: its cells in a kernel of its own, with the caller's platform, a notebook of results.

The kernel is a process of whoever carries the task out and dies with it. It finds the platform by a
configuration file of mode 0600 in a folder of mode 0700, which also holds the sockets it is spoken to by and
is its working directory; the folder is removed at the end.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaml.config import ConfigFile
from omegaml.errors import InvalidInput, OmegaError, TaskFailed, TimedOut, Unavailable
from omegaml.runtime.logger import TASK
from omegaml.runtime.runs import BEAT, Run, Runs

if TYPE_CHECKING:
    from omegaml.omega import Omega
    from omegaml.runtime.base import Task

MAX_CELL = 10 << 20
"""Characters of output that a cell keeps."""

CELL_TIMEOUT = "cell_timeout"
"""The parameter that is not the notebook's: seconds that each of its cells may take."""

FOLDER = "omega-run-"
log = logging.getLogger("notebook")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_libc = ctypes.CDLL(None)


def run(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Execute the notebook and return `{job, run, results}`; `results` names the notebook with the outputs.

    Raises: NotFound (no such notebook), InvalidInput (no such kernel), TaskFailed (a cell raised, or the
        kernel died; names the cell), TimedOut (a cell took too long). The outputs so far are stored by then.
    """
    from omegaml.jobs import RESULTS, SUFFIX, full_name

    job = full_name(task.name)
    runs = Runs(om.db, om.mongo_url)
    runs.prepare()
    runs.add(Run(job, om.bucket, id=task.id))
    runs.start(task.id)
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{task.id[:8]}"
    results = f"{RESULTS}{job.removesuffix(SUFFIX)}_{stamp}{SUFFIX}"
    stored: str | None = None
    error: OmegaError | None = None
    ended = threading.Event()
    threading.Thread(target=_live, args=(runs, task.id, ended), daemon=True).start()
    try:
        timeout = params.pop(CELL_TIMEOUT, None)
        notebook = with_parameters(om.jobs.get(job), params)
        error = _execute(om, task, notebook, timeout)
        om.jobs.put(notebook, results, attributes={"source_job": job, "run": task.id})
        stored = results
    except OmegaError as problem:
        error = error or problem
    finally:
        ended.set()
    if error is not None:
        error.details["results"] = stored
        runs.finish(task.id, "failed", stored, error.message)
        raise error
    runs.finish(task.id, "done", stored)
    return {"job": job, "run": task.id, "results": stored}


def _live(runs: Runs, id: str, ended: threading.Event) -> None:
    """Say now and then that the run goes on."""
    while not ended.wait(BEAT):
        with suppress(OmegaError):
            runs.beat(id)


def with_parameters(notebook: Any, params: dict[str, Any]) -> Any:
    """Return the notebook with a cell that sets `params`, after the one tagged `parameters`, or at the top.

    Raises: InvalidInput (a name that is none, or a value that is no JSON).
    """
    from nbformat.v4 import new_code_cell

    if not params:
        return notebook
    for name, value in params.items():
        if not name.isidentifier() or not _is_plain(value):
            raise InvalidInput(f"{name!r} cannot be a parameter", hint="a name, and a value of JSON")
    source = "\n".join(f"{name} = {value!r}" for name, value in params.items())
    tagged = [n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
    cell = new_code_cell(source, metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(tagged[0] + 1 if tagged else 0, cell)
    return notebook


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or type(value) in (bool, int, str) or (type(value) is float and value - value == 0)


def _execute(om: Omega, task: Task, notebook: Any, timeout: float | None) -> OmegaError | None:
    """Run all cells, in place; return what went wrong."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    wanted = notebook.metadata.kernelspec.name
    _clear_up()
    prefix = f"{FOLDER}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        manager = AsyncKernelManager(kernel_name=wanted, transport="ipc", ip=str(Path(folder, "kernel")))
        manager.connection_file = str(Path(folder, "kernel.json"))
        try:
            _ = manager.kernel_spec
        except NoSuchKernel:
            there = ", ".join(sorted(KernelSpecManager().find_kernel_specs())) or "none"
            return InvalidInput(f"{task.what} needs the kernel {wanted!r}", hint=f"kernels here: {there}")
        client = _client()(notebook, km=manager, timeout=timeout)
        client.owns_km = True
        client.log.setLevel(logging.WARNING)  # the log is for what the cells say
        try:
            client.execute(env=_environment(om, task, folder), cwd=folder, preexec_fn=_die_with_parent)
        except CellExecutionError as error:
            text = _ANSI.sub("", error.traceback)[-100_000:]
            what = f"{error.ename}: {_ANSI.sub('', error.evalue)[:1000]}".removesuffix(": ")
            return _failed(task, client, what, traceback=text)
        except CellTimeoutError:
            where = f"cell {client.cell} of {task.what}"
            return TimedOut(f"{where} took longer than {timeout:g} seconds", hint="raise cell_timeout")
        except DeadKernelError:
            return _failed(task, client, "the kernel died", hint="most often memory runs out")
        except RuntimeError as error:
            return Unavailable(f"{task.what}: the kernel {wanted!r} does not start: {error}")
    return None


def _failed(task: Task, client: Any, what: str, **more: Any) -> TaskFailed:
    hint = more.pop("hint", None)
    return TaskFailed(
        f"{task.what} failed in cell {client.cell}: {what}", hint=hint, cell=client.cell, **more
    )


def _environment(om: Omega, task: Task, folder: str) -> dict[str, str]:
    config = Path(folder, "config.yml")
    ConfigFile(config).set_values({"OMEGA_MONGO_URL": om.mongo_url, "OMEGA_BUCKET": om.bucket})
    profile = Path(folder, "ipython", "profile_default")
    profile.mkdir(parents=True)
    Path(profile, "ipython_config.py").write_text("get_config().HistoryManager.enabled = False\n")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMEGA", "DJANGO"))}
    kept |= {"OMEGA_CONFIG": str(config), TASK: task.id, "IPYTHONDIR": str(Path(folder, "ipython"))}
    return kept | {"JUPYTER_RUNTIME_DIR": folder, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def _clear_up() -> None:
    """Remove the folders of processes that were killed: they hold a credential."""
    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER}*-*"):
        pid = path.name.removeprefix(FOLDER).partition("-")[0]
        with suppress(FileNotFoundError):  # another run did it
            if path.lstat().st_uid == os.getuid() and not Path("/proc", pid).exists():
                shutil.rmtree(path, ignore_errors=True)


def _die_with_parent() -> None:
    """Called in the kernel's process: it is killed when its parent ends, however that ends."""
    with suppress(OSError):
        _libc.prctl(1, signal.SIGKILL)


def _client() -> Any:
    from nbclient import NotebookClient
    from nbformat.v4 import new_output

    class Client(NotebookClient):
        """Knows which cell it is at, from 1 on, and keeps so much of each cell's output."""

        cell = 0
        kept = 0
        cut = 0

        async def async_execute_cell(self, cell: Any, cell_index: int, *args: Any, **more: Any) -> Any:
            self.cell, self.kept, self.cut = cell_index + 1, 0, 0
            try:
                return await super().async_execute_cell(cell, cell_index, *args, **more)
            finally:
                if self.cut:
                    text = f"[{self.cut} more characters were cut: a cell keeps {MAX_CELL}]\n"
                    cell.outputs.append(new_output("stream", name="stderr", text=text))

        def output(self, outs: list[Any], msg: Any, display_id: Any, cell_index: int) -> Any:
            content = msg["content"]
            if msg["msg_type"] == "stream":
                sys.stdout.write(content["text"])
            if msg["msg_type"] == "error":
                log.error("%s", _ANSI.sub("", "\n".join(content["traceback"])))
            size = len(content.get("text", "")) + len(str(content.get("data", "")))
            if msg["msg_type"] != "error" and self.kept + size > MAX_CELL:
                self.cut += size
                if msg["msg_type"] != "stream":
                    return None
                content["text"] = content["text"][: MAX_CELL - self.kept]
                self.cut -= len(content["text"])
                size = len(content["text"])
                if not size:
                    return None
            self.kept += size
            last = outs[-1] if outs else {}
            is_stream = msg["msg_type"] == "stream" and not self.clear_before_next_output
            if is_stream and last.get("name") == content["name"]:
                # nbclient's own way takes time by the square of a line's length
                last["text"] += content["text"]
                return last
            return super().output(outs, msg, display_id, cell_index)

    return Client
