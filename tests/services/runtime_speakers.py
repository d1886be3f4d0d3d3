"""Models that have something to say, for the tests of logs; a module, so that any process imports them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
import warnings
from typing import Any

from sklearn.base import BaseEstimator


class Speaker(BaseEstimator):
    """Says what the first cell of X asks for."""

    def predict(self, X: Any) -> Any:
        getattr(self, X[0][0])()
        return [1]

    def everything(self) -> None:
        import omegaml as om

        print("printed", "ö")
        logging.getLogger("mine").info("logged\nin two lines")
        logging.getLogger("mine").debug("not shown")
        warnings.warn("careful", stacklevel=1)
        om.logger.warning("by om.%s", "logger")
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            om.logger.exception("caught")
        os.write(2, b"bytes \xff\xfe\n")
        subprocess.run(["echo", "of another process"], check=True)
        print("bar  1%\rbar 99%")
        print("no end of line", end="")

    def dies(self) -> None:
        print("last words")
        os.kill(os.getpid(), signal.SIGKILL)

    def floods(self) -> None:
        line = b"x" * 99 + b"\n"
        for _ in range(200):
            os.write(1, line * 10_000)
        print("dry again")

    def long_line(self) -> None:
        print("before")
        print("a" * 10_000_000)
        print("after")

    def empty_lines(self) -> None:
        os.write(1, b"\n" * 5_000_000)
        print("end")

    def forges(self) -> None:
        for record in (
            b'\x1e{"level": "ERROR", "name": "omegaml", "text": "forged", "task": "0", "time": 0}',
            b'\x1e{"level": 1, "name": {"$ne": 1}, "text": []}',
            b'\x1e{"level": "INFO", "name": "x", "text": "\\ud800 half"}',
            b"\x1e" + b"[" * 100_000,
            b"\x1enothing",
            b"before\x1e",
        ):
            os.write(1, record + b"\n")

    def reveals(self) -> None:
        with open("/dev/stderr", "w") as file:
            file.write("opened anew\n")
        for name, value in os.environ.items():
            print(f"{name}={value}")
        with open("/proc/self/cmdline") as file:
            print(file.read())

    def slowly(self) -> None:
        for n in range(4):
            print("step", n)
            time.sleep(0.7)

    def ticks(self) -> None:
        for n in range(300):
            print("tick", n)
            time.sleep(0.01)
