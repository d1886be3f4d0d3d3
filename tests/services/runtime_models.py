"""Models that behave badly, for the tests of runtimes; in a module, so that any process can import them."""

from __future__ import annotations

import os
import signal
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
