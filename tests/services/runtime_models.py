"""Models that behave badly, for the tests of runtimes; in a module, so that any process can import them."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator


class Killer(BaseEstimator):
    """Ends the process that asks it."""

    def predict(self, X: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


class Leaver(BaseEstimator):
    """Calls sys.exit when it is asked."""

    def predict(self, X: Any) -> Any:
        sys.exit(3)


class Sleeper(BaseEstimator):
    """Takes as many seconds as the first cell of X says; prints before it answers."""

    def fit(self, X: Any, y: Any = None) -> Sleeper:
        time.sleep(float(np.asarray(X)[0][0]))
        self.fitted_ = True
        return self

    def predict(self, X: Any) -> Any:
        print("going to sleep")
        time.sleep(float(np.asarray(X)[0][0]))
        return np.asarray(X)[:, 0]


class Flaky(BaseEstimator):
    """Fails until it was asked as often as X says, which it counts in the file that X names."""

    def predict(self, X: Any) -> Any:
        path, wanted = X[0]
        with open(path, "a") as file:
            file.write("x")
        with open(path) as file:
            tries = len(file.read())
        if tries < int(wanted):
            raise ValueError("not yet")
        return tries


class Reporter(BaseEstimator):
    """Says that it is at a quarter, then takes as many seconds as X says."""

    def __init__(self, url: str = "") -> None:
        self.url = url

    def predict(self, X: Any) -> Any:
        import omegaml as om

        om.setup(mongo_url=self.url)
        om.runtime.progress(0.25, "a quarter")
        time.sleep(X[0][0])


class Slow(BaseEstimator):
    """Takes `pause` seconds to be fitted, and the longer the better."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause

    def fit(self, X: Any, y: Any = None) -> Slow:
        time.sleep(self.pause)
        self.fitted_ = True
        return self

    def score(self, X: Any, y: Any = None) -> float:
        return self.pause


class Parent(BaseEstimator):
    """Leaves a process that holds its files open, and is killed; its answer is that process's id."""

    def predict(self, X: Any) -> Any:
        child = os.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
        with open(X[0][0], "w") as file:
            file.write(str(child))
        os.kill(os.getpid(), signal.SIGKILL)


class Rebel(BaseEstimator):
    """Kills the worker that has it carried out."""

    def predict(self, X: Any) -> Any:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)


class Forker(BaseEstimator):
    """Comes back twice, in two processes."""

    def predict(self, X: Any) -> Any:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return ["copy"] if child == 0 else ["original"]


class Talker(BaseEstimator):
    """Writes to where a runtime may write its answers, and reads where it may read its tasks."""

    def predict(self, X: Any) -> Any:
        os.write(1, b'{"result": "forged"}\n')
        subprocess.run(["echo", "hello"], check=True)
        return [os.read(0, 10) if X[0][0] == "read" else b"", [len(X)]]


class Giver(BaseEstimator):
    """Answers with a value that its parameter names."""

    def predict(self, X: Any, what: str) -> Any:
        return {
            "object": object(),
            "generator": (n for n in range(3)),
            "masked": np.ma.array([1, 2], mask=[0, 1]),
            "unicode": ["ü€\U0001f600", "\x00", "\ud800"],
            "unfinished": [float("nan"), float("inf"), None, np.float32(1.5)],
            "text": "ü" * 20_000_000,
            "labels": np.array(["label"] * 300_000, object),
            "nothing": None,
        }[what]


class Raiser(BaseEstimator):
    """Raises what cannot be sent anywhere, with so many characters of text."""

    def __init__(self, length: int = 1000) -> None:
        self.length = length

    def predict(self, X: Any) -> Any:
        class Local(Exception):
            pass

        error = Local("öch " * (self.length // 4))
        error.lock = open  # type: ignore[attr-defined]
        raise error


class Counter(BaseEstimator):
    """Counts the rows that it was trained on; takes its time, so that others come between."""

    def fit(self, X: Any, y: Any = None) -> Counter:
        self.rows_ = 0
        return self.partial_fit(X)

    def partial_fit(self, X: Any, y: Any = None) -> Counter:
        time.sleep(0.02)
        self.rows_ = getattr(self, "rows_", 0) + len(X)
        return self

    def predict(self, X: Any) -> Any:
        return [self.rows_] * len(X)


class Recorder(BaseEstimator):
    """Returns from `fit` something that is no model, as Keras does."""

    def fit(self, X: Any, y: Any = None) -> dict[str, int]:
        self.fitted_ = True
        return {"epochs": 3}


class Spoiler(BaseEstimator):
    """Changes the data it is given."""

    def predict(self, X: Any) -> Any:
        X.iloc[:, 0] = -1.0
        return X.iloc[:, 0].to_numpy()


class Insider(BaseEstimator):
    """Asks the platform itself, as any model may."""

    def predict(self, X: Any) -> Any:
        import omegaml as om

        return om.datasets.list()


class Cleaner(BaseEstimator):
    """Takes its time; when it is interrupted it notes why, and goes on if its parameter says so."""

    def __init__(self, path: str = "", goes_on: bool = False) -> None:
        self.path = path
        self.goes_on = goes_on

    def predict(self, X: Any) -> Any:
        try:
            _sleep_until(time.monotonic() + float(np.asarray(X)[0][0]))
        except Exception as error:
            with open(self.path, "a") as file:
                file.write(f"{type(error).__name__}: {error}\n")
            if not self.goes_on:
                raise
            _sleep_until(time.monotonic() + 60)
        return [0.0]


def _sleep_until(end: float) -> None:
    while time.monotonic() < end:
        time.sleep(0.01)


class Eater(BaseEstimator):
    """Holds so many MiB, in one way or another; its answer is how many."""

    def predict(self, X: Any, how: str, mib: int) -> Any:
        if how == "array":
            return [len(np.ones((mib, 1 << 17)))]
        if how == "shared":
            held = mmap.mmap(-1, mib << 20)
            for at in range(0, len(held), 4096):
                held[at] = 1
        elif how == "forks":  # they share what they were born with, which counts once
            kept = np.ones((mib, 1 << 17))
            children = [os.fork() or _pause() for _ in range(3)]
            time.sleep(1.0)
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            return [len(kept)]
        elif how == "processes":  # none holds more than it may for itself; they have left the group
            command = [sys.executable, "-c", f"kept = b'x' * ({mib // 3} << 20); input()"]
            for process in [
                subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) for _ in range(3)
            ]:
                process.wait()
        return [mib]


def _pause() -> int:
    time.sleep(60)
    os._exit(0)


class Launcher(BaseEstimator):
    """Starts a process in a session of its own, as the kernel of a notebook is, and waits for it."""

    def predict(self, X: Any) -> Any:
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        started = subprocess.Popen(command, start_new_session=True)
        with open(X[0][0], "w") as file:
            file.write(str(started.pid))
        started.wait()
        return [0]


class Threader(BaseEstimator):
    """Starts so many threads of BLAS and of Python, and says how many there were."""

    def predict(self, X: Any, threads: int) -> Any:
        square = np.ones((400, 400))
        with ThreadPoolExecutor(threads) as pool:
            return [len(list(pool.map(lambda _: float((square @ square)[0, 0]), range(threads))))]
