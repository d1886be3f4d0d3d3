"""`omegacli` for tests against a real database."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from omegacli.main import main

ROOT = Path(__file__).resolve().parents[2]
CSV = 'a,b,c\n1,x,0.5\n2,"y, z",1.5\n3,ü,\n'


class Cli:
    """Runs `omegacli` on a fresh database, in a folder of its own; in this process, ten times as fast."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        kept = {k: v for k, v in os.environ.items() if not k.startswith("OMEGA")}
        own = {"OMEGA_HOME": str(folder / "home"), "OMEGA_MONGO_URL": url}
        self.env = {**kept, **own, "PYTHONPATH": str(ROOT)}

    def run(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(stdin)
            given.seek(0)
            streams = [
                io.TextIOWrapper(os.fdopen(os.dup(file.fileno()), mode))
                for file, mode in ((given, "rb"), (out, "wb"), (err, "wb"))
            ]
            before = sys.stdin, sys.stdout, sys.stderr
            signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            sys.stdin, sys.stdout, sys.stderr = streams
            try:
                code = main(words)
            finally:
                sys.stdin, sys.stdout, sys.stderr = before
                for number, handler in signals.items():
                    signal.signal(number, handler)
                for stream in streams:
                    stream.close()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(words, code, out.read(), err.read())

    def ok(self, *words: str, stdin: bytes = b"") -> str:
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def data(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "--json"))["data"]

    def error(self, *words: str, stdin: bytes = b"") -> tuple[int, str]:
        done = self.run(*words, "--json", stdin=stdin)
        error = json.loads(done.stdout)["error"]
        assert error["exit"] == done.returncode
        return done.returncode, f"{error['message']} {error['hint']}"

    def out(self, *words: str) -> str:
        """Run a command whose last word is a file to write, and return that."""
        self.ok(*words)
        return words[-1]
