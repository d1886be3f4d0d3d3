"""Running a notebook: its cells in a kernel of its own, with the caller's platform, a notebook of results.

The kernel is a process of whoever carries the task out and dies with it. It finds the platform by a
configuration file of mode 0600 in a folder of mode 0700, which also holds the sockets it is spoken to by and
is its working directory; the folder is removed at the end. What there is of the notebook of results is stored
while it is executed, too, so that it outlives whoever does that.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaml.backends.notebooks import installed
from omegaml.config import ConfigFile
from omegaml.errors import InvalidInput, OmegaError, TaskFailed, TimedOut, Unavailable
from omegaml.runtime import folders
from omegaml.runtime.logger import TASK
from omegaml.runtime.runs import BEAT, Run, Runs

if TYPE_CHECKING:
    from omegaml.omega import Omega
    from omegaml.runtime.base import Task

CELL_TIMEOUT = "cell_timeout"
"""The parameter that is not the notebook's: seconds that each of its cells may take."""

_libc = ctypes.CDLL(None)


def run(om: Omega, task: Task, x: Any, y: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Execute the notebook and return `{job, run, results}`; `results` names the notebook with the outputs.

    Raises: NotFound (no such notebook), InvalidInput (no such kernel), TaskFailed (a cell raised, or the
        kernel died; names the cell), TimedOut (a cell took too long). The outputs so far are stored by then;
        if this process is killed, those until a few seconds before.
    """
    from omegaml.jobs import RESULTS, SUFFIX, full_name

    job = full_name(task.name)
    runs = Runs(om.db, om.mongo_url)
    runs.prepare()
    runs.add(Run(job, om.bucket, id=task.id))
    runs.start(task.id)
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{task.id[:8]}"
    results = f"{RESULTS}{job.removesuffix(SUFFIX)}_{stamp}{SUFFIX}"

    def store(notebook: Any) -> None:
        om.jobs.put(notebook, results, attributes={"source_job": job, "run": task.id})
        runs.keeps(task.id, results)

    stored: str | None = None
    error: OmegaError | None = None
    ended = threading.Event()
    threading.Thread(target=_live, args=(runs, task.id, ended), daemon=True).start()
    try:
        timeout = params.pop(CELL_TIMEOUT, None)
        notebook = with_parameters(om.jobs.get(job), params)
        error = _execute(om, task, notebook, timeout, store)
        store(notebook)
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
    if not params:
        return notebook
    from nbformat.v4 import new_code_cell

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


def _execute(
    om: Omega, task: Task, notebook: Any, timeout: float | None, store: Callable[[Any], None]
) -> OmegaError | None:
    """Run all cells, in place, and `store` the notebook now and then; return what went wrong."""
    with installed():
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
        from jupyter_client.manager import AsyncKernelManager
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

        from omegaml.runtime.cells import Client, Keeper, plain

    wanted = notebook.metadata.kernelspec.name
    for cell in notebook.cells:
        if cell.cell_type == "code":  # what is left of a run before is not what comes of this one
            cell.outputs, cell.execution_count = [], None
    folders.remove_of_the_dead()
    with folders.folder() as folder:
        manager = AsyncKernelManager(kernel_name=wanted, transport="ipc", ip=str(folder / "kernel"))
        manager.connection_file = str(folder / "kernel.json")
        try:
            _ = manager.kernel_spec
        except NoSuchKernel:
            there = ", ".join(sorted(KernelSpecManager().find_kernel_specs())) or "none"
            return InvalidInput(f"{task.what} needs the kernel {wanted!r}", hint=f"kernels here: {there}")
        keeper = Keeper(store)
        client = Client(notebook, keeper, km=manager, timeout=timeout)
        try:
            client.run(env=_environment(om, task, folder), cwd=str(folder), preexec_fn=_die_with_parent)
        except CellExecutionError as error:
            what = f"{error.ename}: {plain(error.evalue[:1000])}".removesuffix(": ")
            return _failed(task, client.cell, what, traceback=plain(error.traceback))
        except CellTimeoutError:
            where = f"cell {client.cell} of {task.what}"
            return TimedOut(f"{where} took longer than {timeout:g} seconds", hint="raise cell_timeout")
        except DeadKernelError:
            return _failed(task, client.cell, "the kernel died", hint="most often memory runs out")
        except OmegaError as error:  # at the soft limit
            return error
        except RuntimeError as error:
            return Unavailable(f"{task.what}: the kernel {wanted!r} does not start: {error}")
        finally:
            keeper.close()
    return None


def _failed(task: Task, cell: int, what: str, hint: str | None = None, **more: Any) -> TaskFailed:
    return TaskFailed(f"{task.what} failed in cell {cell}: {what}", hint=hint, cell=cell, **more)


def _environment(om: Omega, task: Task, folder: Path) -> dict[str, str]:
    config = folder / "config.yml"
    ConfigFile(config).set_values({"OMEGA_MONGO_URL": om.mongo_url, "OMEGA_BUCKET": om.bucket})
    profile = folder / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    Path(profile, "ipython_config.py").write_text("get_config().HistoryManager.enabled = False\n")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMEGA", "DJANGO"))}
    kept |= {"OMEGA_CONFIG": str(config), TASK: task.id, "IPYTHONDIR": str(folder / "ipython")}
    return kept | {"JUPYTER_RUNTIME_DIR": str(folder), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def _die_with_parent() -> None:
    """Called in the kernel's process: it is killed when its parent ends, however that ends."""
    with suppress(OSError):
        _libc.prctl(1, signal.SIGKILL)
