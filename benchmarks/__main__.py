"""Run cases and show their table: `scripts/benchmark [--quick] [--write FILE] [CASE...]`."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
import warnings
from pathlib import Path


def main() -> None:
    arguments = _parser().parse_args()
    folder = Path(tempfile.mkdtemp(prefix="omegaml-benchmark-"))
    # the settings of whoever runs this are not what is measured
    for name in [n for n in os.environ if n.startswith("OMEGA_") and n != "OMEGA_MONGOD"]:
        del os.environ[name]
    os.environ["OMEGA_HOME"] = str(folder / "home")
    # pymongoarrow was built for another minor version of pyarrow and says so many times
    warnings.filterwarnings("ignore", message=".*may indicate binary incompatibility")

    from benchmarks import machine, report
    from benchmarks.bench import Bench
    from benchmarks.cases import CASES
    from benchmarks.server import Server

    unknown = [case for case in arguments.cases if case not in CASES]
    if unknown:
        raise SystemExit(f"there is no case {unknown[0]!r}; there are {', '.join(CASES)}")
    server = None
    try:
        server = Server(folder / "mongod")
        told = machine.facts(server, folder)
        bench = Bench(server, folder, arguments.quick, arguments.seed)
        lines, began = [], time.monotonic()
        for case in arguments.cases or CASES:
            bench.say(f"== {case}, after {time.monotonic() - began:.0f} s")
            lines += CASES[case](bench)
        bench.om.close()
        print("\n".join(f"{what + ':':20} {fact}" for what, fact in told))
        print(f"\n{report.figures(bench.timings)}\n\n{report.text(lines, not arguments.quick)}\n")
        print(f"{time.monotonic() - began:.0f} s")
        if not arguments.quick:
            print(report.summary(lines))
        if arguments.write is not None:
            arguments.write.write_text(report.page(lines, bench.timings, told))
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/benchmark", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="which cases to run; all if none is given")
    parser.add_argument("--quick", action="store_true", help="little data: see whether everything works")
    parser.add_argument("--seed", type=int, default=7, help="draws the second frame")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page of the documentation")
    return parser


if __name__ == "__main__":
    main()
