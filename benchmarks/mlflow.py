"""MLflow's scoring server, in a virtual environment of its own: it wants other versions than the product."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import requests

PYTHON = Path(__file__).parents[1] / ".venv-mlflow/bin/python"
_SAVE = "import sys, joblib, mlflow.sklearn; mlflow.sklearn.save_model(joblib.load(sys.argv[1]), sys.argv[2])"


def installed() -> bool:
    return PYTHON.exists()


def version() -> str:
    """The version that is installed; nothing where none is."""
    found = PYTHON.parents[1].glob("lib/*/site-packages/mlflow-*.dist-info")
    return next((path.name.split("-")[1].removesuffix(".dist") for path in found), "")


@contextmanager
def scoring_server(model: Any, folder: Path) -> Iterator[str]:
    """Serve a scikit-learn model as `mlflow models serve` does; yields where it takes requests."""
    joblib.dump(model, folder / "model.joblib")
    environment = {**os.environ, "PATH": f"{PYTHON.parent}:{os.environ['PATH']}"}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    run: dict[str, Any] = {"cwd": folder, "env": environment, "stderr": subprocess.STDOUT}
    with socket.socket() as probe, (folder / "log").open("wb") as log:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
        subprocess.run([str(PYTHON), "-c", _SAVE, "model.joblib", "model"], check=True, stdout=log, **run)
    argv = [str(PYTHON), "-m", "mlflow", "models", "serve", "--model-uri", "model", "--env-manager", "local"]
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen([*argv, "--host", "127.0.0.1", "--port", port], stdout=log, **run)
    try:
        _await(server, f"http://127.0.0.1:{port}", folder / "log")
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        server.terminate()
        server.wait(60)


def _await(server: subprocess.Popen[Any], url: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            if requests.get(f"{url}/ping", timeout=5).status_code == 200:
                return
        except requests.RequestException:
            pass
        if time.monotonic() > deadline or server.poll() is not None:
            raise RuntimeError(f"MLflow's scoring server does not start: {log.read_text()[-2000:]}")
        time.sleep(0.2)
