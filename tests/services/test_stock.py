"""Row datasets go both ways between this library and stock omegaml 0.18, which runs in a venv of its own.

OMEGA_STOCK_PYTHON names that venv's python; without it the venv is made once, in `.venv-stock`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

CACHE = Path(__file__).parents[2] / ".venv-stock"

# Run on both sides, so that each compares what it reads with the same frames. Only what stock itself keeps.
FRAMES = """
    import numpy as np, pandas as pd
    random = np.random.default_rng(11)
    rows = 25_000
    dates = pd.date_range("2020-10-24 22:00", periods=rows, freq="30min", tz="UTC")
    noons = pd.date_range("2000-01-01 12:00", periods=rows, freq="D", tz="UTC")
    fold = pd.DataFrame({"tz": pd.Series(dates.tz_convert("Europe/Zurich").as_unit("ns"))})
    days = pd.date_range("2020-01-01", periods=99, freq="D").as_unit("ns")
    labels = pd.Index(["x", "y", "z"], name="key", dtype=object)
    levels = pd.MultiIndex.from_product([[1, 2], [3, 4]], names=["p", "q"])
    frames = {
        "plain": pd.DataFrame({
            "i": np.arange(rows),
            "big": random.integers(-2**62, 2**62, rows),
            "f": np.where(random.random(rows) < .1, np.nan, random.normal(size=rows)),
            "b": random.random(rows) < .5,
            "s": pd.Series(random.choice(["a", "ä", "", "long " * 20], rows), dtype=object),
            "d": pd.Series(dates.tz_localize(None).to_numpy().astype("M8[ns]")),
            "tz": pd.Series(noons.tz_convert("Europe/Zurich").as_unit("ns")),
            "none": pd.Series([None, "x"] * (rows // 2), dtype=object),
        }),
        "labelled": pd.DataFrame({"v": [1.5, 2.5, 3.5]}, index=labels),
        "ints": pd.DataFrame({"v": [1, 2, 3]}, index=pd.Index([30, 10, 20])),
        "levels": pd.DataFrame({"v": [1, 2, 3, 4]}, index=levels),
        "dated": pd.DataFrame({"v": [1, 2]}, index=days[[0, 60]]),
        "daily": pd.DataFrame({"v": [1, 2]}, index=days[:2]),
        "series": pd.Series([1, 2, 3], name="s"),
        "unnamed": pd.Series([1.5, 2.5]),
    }
    def same(frame, back):
        loose = dict(check_index_type=False, check_freq=False, check_exact=True)
        if isinstance(frame, pd.Series):
            pd.testing.assert_series_equal(frame, back, **loose)
        else:
            pd.testing.assert_frame_equal(frame, back, check_column_type=False, **loose)
"""
EXAMPLES: dict[str, Any] = {}
exec(textwrap.dedent(FRAMES), EXAMPLES)
frames, same = EXAMPLES["frames"], EXAMPLES["same"]


@pytest.fixture(scope="session")
def stock_python() -> str:
    given = os.environ.get("OMEGA_STOCK_PYTHON")
    if given:
        return given
    python = CACHE / "bin" / "python"
    if not (CACHE / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(CACHE)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "omegaml==0.18.*", "pandas<3"], check=True)
        (CACHE / "complete").touch()
    return str(python)


@pytest.fixture
def stock(stock_python: str, om_url: str, tmp_path: Path) -> Any:
    """Run statements in stock omegaml; `store` is its datasets of the same database."""

    def run(script: str) -> str:
        lines = [
            "import sys, warnings; warnings.simplefilter('ignore')",
            "from omegaml.store import OmegaStore",
            f"store = OmegaStore(mongo_url={om_url!r}, bucket='omegaml', prefix='data/')",
            textwrap.dedent(FRAMES),
            textwrap.dedent(script),
        ]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMEGA_", "PYTHON"))}
        environment["HOME"] = str(tmp_path)
        done = subprocess.run(
            [stock_python, "-c", "\n".join(lines)],
            capture_output=True,
            text=True,
            timeout=240,
            env=environment,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_the_other_side_is_stock_0_18(stock: Any) -> None:
    assert (
        stock("import omegaml; print(omegaml.__file__, omegaml.__version__)").split()[-1].startswith("0.18")
    )


def test_stock_reads_what_we_write(om: Any, stock: Any) -> None:
    for name, frame in frames.items():
        om.datasets.put(frame, name, format="rows", index=["i"] if name == "plain" else None)
    om.datasets.put(EXAMPLES["fold"], "fold", format="rows")  # stock itself writes these an hour wrong
    om.datasets.put(frames["plain"], "replaced/twice", format="rows")
    om.datasets.put(frames["ints"], "replaced/twice", format="rows")
    stock(
        """
        for name, frame in frames.items():
            same(frame, store.get(name))
        same(fold, store.get("fold"))
        same(frames["ints"], store.get("replaced/twice"))
        plain = frames["plain"]
        same(plain[plain.i < 50], store.get("plain", i__lt=50))
        assert sorted(store.list()) == sorted([*frames, "fold", "replaced/twice"]), store.list()
        """
    )


def test_we_read_what_stock_writes(om: Any, stock: Any) -> None:
    stock(
        """
        for name, frame in frames.items():
            store.put(frame.copy(), name, append=False)
        store.put(pd.DataFrame({"a.b": [1], 5: [2]}), "labels", append=False)
        """
    )
    for name, frame in frames.items():
        back = om.datasets.get(name)
        same(frame, back)
        assert type(back) is type(frame)
    plain = frames["plain"]
    same(plain[plain.i < 50], om.datasets.get("plain", i__lt=50))
    same(plain[["s", "i"]].head(5), om.datasets.get("plain[s,i]", limit=5))
    assert om.datasets.get("labels").columns.tolist() == ["a.b", 5]
    assert set(om.datasets.list()) == {*frames, "labels"}


def test_both_append_to_a_dataset_of_the_other(om: Any, stock: Any) -> None:
    whole = pd.DataFrame({"v": np.arange(6), "s": pd.Series(list("abcdef"), dtype=object)})
    om.datasets.put(whole[:2], "ours", format="rows")
    stock('store.put(pd.DataFrame({"v": [0, 1], "s": ["a", "b"]}), "theirs", append=False)')
    om.datasets.put(whole[2:4].reset_index(drop=True), "theirs", append=True)
    om.datasets.put(whole[2:4].reset_index(drop=True), "ours", append=True)
    stock(
        """
        whole = pd.DataFrame({"v": np.arange(6), "s": list("abcdef")})
        for name in ("ours", "theirs"):
            same(whole[:4], store.get(name))
            store.put(whole[4:].copy(), name, append=True)
        """
    )
    for name in ("ours", "theirs"):
        same(whole, om.datasets.get(name))
        om.datasets.put(whole[:1], name, append=True)
        assert om.datasets.get(name).v.tolist() == [0, 1, 2, 3, 4, 5, 0]


def test_stock_shows_what_it_cannot_keep_itself_as_its_values(om: Any, stock: Any) -> None:
    frame = pd.DataFrame(
        {
            "i8": np.array([1, 2], "int8"),
            "c": pd.Categorical(["x", "y"], ordered=True),
            "n": pd.array([1, None], dtype="Int64"),
            "nat": pd.to_datetime(pd.Series(["2020-01-01", None])),
            "a.b": [1, 2],
            "$x": [3, 4],
        }
    )
    om.datasets.put(frame, "f", format="rows")
    stock(
        """
        back = store.get("f")
        assert back.columns.tolist() == ["i8", "c", "n", "nat", "a_b", "_$x"], back.columns
        assert back.i8.tolist() == [1, 2] and back.c.tolist() == ["x", "y"] and back["_$x"].tolist() == [3, 4]
        assert back.n[0] == 1 and pd.isna(back.n[1])
        assert back.nat[0] == pd.Timestamp("2020-01-01") and pd.isna(back.nat[1])
        """
    )
    pd.testing.assert_frame_equal(frame, om.datasets.get("f"))
