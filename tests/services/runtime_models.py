"""Models that behave badly, for the tests of runtimes; in a module, so that any process can import them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
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
