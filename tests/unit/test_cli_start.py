"""The command line without a server: help, speed, exit codes, output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from omegacli import console, literals
from omegacli.main import COMMANDS, parse_globals
from omegaml.errors import InvalidInput

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OMEGA")}
    return {**kept, "HOME": str(tmp_path), "OMEGA_HOME": str(tmp_path / "omega"), "PYTHONPATH": str(ROOT)}


def run(env: dict[str, str], *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "omegacli", *words],
        env=env,
        input=stdin,
        text=True,
        capture_output=True,
        timeout=60,
    )


def cpu(env: dict[str, str], *words: str) -> float:
    """CPU seconds of the best of fifteen runs of compiled code, as installed: noise only ever adds.

    The limits are those of a machine on which an empty Python costs 12 ms; a slower one gets its share more.
    """
    env = {**env, "PYTHONPYCACHEPREFIX": str(Path(env["HOME"]) / "pyc")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    empty, ours = [], []
    for _ in range(15):
        empty.append(spent(env, "-c", "pass"))
        ours.append(spent(env, "-m", "omegacli", *words))
    return min(ours) / max(1.0, min(empty) / 0.012)


def spent(env: dict[str, str], *words: str) -> float:
    process = subprocess.Popen([sys.executable, *words], env=env, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def paths(node: dict[str, Any]) -> list[list[str]]:
    own = node["path"].split()[1:]
    return [own, *(path for child in node["commands"] for path in paths(child))]


def test_every_command_has_help(env: dict[str, str]) -> None:
    tree = json.loads(run(env, "help", "--json").stdout)["data"]
    assert {child["name"] for child in tree["commands"]} == set(COMMANDS)

    def check(node: dict[str, Any]) -> None:
        assert node["help"], f"{node['path']} has no help"
        for param in node["params"]:
            assert param["help"], f"{node['path']} {param['name']} has no help"
        for child in node["commands"]:
            check(child)

    check(tree)
    found = {" ".join(path) for path in paths(tree)}
    for name in [
        "list",
        "put",
        "get",
        "show",
        "metadata",
        "head",
        "query",
        "count",
        "drop",
        "copy",
        "rename",
        "export",
        "import",
    ]:
        assert f"datasets {name}" in found
    for name in [
        "list",
        "put",
        "get",
        "show",
        "metadata",
        "versions",
        "promote",
        "drop",
        "fit",
        "partial-fit",
        "predict",
        "predict-proba",
        "decision-function",
        "gridsearch",
        "score",
        "transform",
    ]:
        assert f"models {name}" in found
    assert {"runtime ping", "runtime status", "runtime result", "runtime cancel"} <= found


def test_each_noun_shows_its_help_alone(env: dict[str, str]) -> None:
    for noun in COMMANDS:
        done = run(env, noun, "-h")
        assert done.returncode == 0 and f"Usage: omegacli {noun}" in done.stdout, done.stderr


def test_the_version_costs_40_and_help_100_milliseconds(env: dict[str, str]) -> None:
    assert cpu(env, "--version") <= 0.040
    assert cpu(env, "--help") <= 0.100
    assert cpu(env, "datasets", "put", "--help") <= 0.100


def test_config_get_costs_120_milliseconds(env: dict[str, str]) -> None:
    assert cpu(env, "config", "get", "OMEGA_BUCKET") <= 0.120


@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], ["datasets", "--help"], ["models", "fit", "--help"]]
)
def test_starting_imports_nothing_heavy(env: dict[str, str], words: list[str]) -> None:
    code = (
        "import sys; from omegacli.main import main; code = main(sys.argv[1:]); "
        "heavy = {'yaml', 'requests', 'pymongo', 'pandas', 'numpy', 'pyarrow', 'rich', 'jinja2'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_global_flags_are_accepted_before_and_after_the_command() -> None:
    options, rest = parse_globals(["--json", "datasets", "-c", "dev", "list", "--timeout=5", "-qy"])
    assert rest == ["datasets", "list"]
    assert (options.json, options.context, options.timeout, options.quiet, options.yes) == (
        True,
        "dev",
        5.0,
        True,
        True,
    )


def test_words_after_a_double_dash_are_left_alone() -> None:
    assert parse_globals(["cluster", "exec", "--", "ls", "--json"])[1] == [
        "cluster",
        "exec",
        "--",
        "ls",
        "--json",
    ]


def test_the_version_of_an_object_is_not_the_version_of_the_program() -> None:
    options, rest = parse_globals(["datasets", "get", "x", "--version", "3"])
    assert rest == ["datasets", "get", "x", "--version", "3"] and not options.version
    assert parse_globals(["datasets", "--version"])[0].version


@pytest.mark.parametrize("words", [["--timeout", "soon"], ["--timeout"], ["--json=yes"], ["--timeout", "-1"]])
def test_an_unusable_global_flag_is_a_usage_error(env: dict[str, str], words: list[str]) -> None:
    done = run(env, "config", "list", *words)
    assert done.returncode == 2
    assert done.stdout.startswith('{"ok": false') or done.stderr.startswith("error: ")


def test_a_typo_gets_a_suggestion(env: dict[str, str]) -> None:
    done = run(env, "datsets", "list")
    assert done.returncode == 2 and "did you mean 'datasets'" in done.stderr
    done = run(env, "datasets", "lst")
    assert done.returncode == 2 and "'list'" in done.stderr
    done = run(env, "datasets", "list", "--tiemout", "5")
    assert done.returncode == 2 and "did you mean --timeout?" in done.stderr
    done = run(env, "datasets", "put", "a", "b", "--apend")
    assert done.returncode == 2 and "--append" in done.stderr


def test_a_usage_error_is_an_envelope_with_json(env: dict[str, str]) -> None:
    done = run(env, "datasets", "get", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 2 and done.stderr == ""
    assert answer["ok"] is False and answer["error"]["exit"] == 2 and answer["error"]["code"] == "USAGE"


def test_a_group_without_a_command_names_its_commands(env: dict[str, str]) -> None:
    done = run(env, "datasets")
    assert done.returncode == 2 and "list" in done.stderr and "--help" in done.stderr


def test_a_server_that_does_not_answer_is_7_within_three_seconds(env: dict[str, str]) -> None:
    started = time.monotonic()
    done = run({**env, "OMEGA_MONGO_URL": "mongodb://127.0.0.1:1/x"}, "datasets", "list")
    assert done.returncode == 7, done.stderr
    assert "127.0.0.1:1" in done.stderr and "omegacli cluster up" in done.stderr
    assert time.monotonic() - started < 8  # 3 s to look for it, and a slow machine's start-up


def test_nothing_configured_is_7_and_says_what_to_type(env: dict[str, str]) -> None:
    done = run(env, "datasets", "list", "--json")
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 7 and error["code"] == "UNAVAILABLE" and error["retry"] is True
    assert "omegacli cluster up" in error["hint"]


def test_a_traceback_is_shown_only_with_debug(env: dict[str, str]) -> None:
    assert "Traceback" not in run(env, "datasets", "list").stderr
    assert "Traceback" in run(env, "datasets", "list", "--debug").stderr


def test_an_unexpected_error_is_one_sentence(env: dict[str, str]) -> None:
    done = run({**env, "OMEGA_MONGO_URL": "mongodb://127.0.0.1:1/x"}, "shell", "-x", "1 / 0")
    assert done.returncode == 1 and done.stderr.startswith("error: ZeroDivisionError")
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_command_with_their_code(env: dict[str, str], number: int, code: int) -> None:
    script = "print('ready', flush=True); import time; time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-m", "omegacli", "shell", "-x", script],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code and "Traceback" not in err


def test_a_broken_pipe_is_no_error(env: dict[str, str]) -> None:
    command = f"{sys.executable} -m omegacli shell -x 'print(\"x\\n\" * 1_000_000)' | head -1"
    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout == "x\n" and done.stderr == ""


def shell(env: dict[str, str], command: str) -> subprocess.CompletedProcess[str]:
    (Path(env["HOME"]) / "omegacli").write_text(f'#!/bin/sh\nexec {sys.executable} -m omegacli "$@"\n')
    (Path(env["HOME"]) / "omegacli").chmod(0o755)
    env = {**env, "PATH": f"{env['HOME']}:{env['PATH']}"}
    return subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_141_without_a_word(env: dict[str, str], unbuffered: str) -> None:
    """Without the buffer that main adds, a raw stream writes a part and says nothing of the rest."""
    for words in ("help --json", "config list"):
        command = f"omegacli {words} | true; echo ${{PIPESTATUS[0]}}"
        done = shell({**env, "PYTHONUNBUFFERED": unbuffered}, command)
        assert (done.stdout, done.stderr) == ("141\n", "")


def test_closed_and_full_outputs_are_no_tracebacks(env: dict[str, str]) -> None:
    assert shell(env, "omegacli config list >&-").returncode == 0
    assert shell(env, "omegacli config list <&-").returncode == 0
    done = shell(env, "omegacli config list >/dev/full")
    assert done.returncode == 7 and done.stderr.startswith("error: no space left")


def test_piped_output_is_tab_separated_and_has_no_escapes(env: dict[str, str]) -> None:
    done = run(env, "config", "list", "--show-origin")
    assert done.stdout.splitlines()[0] == "name\tvalue\torigin"
    assert "OMEGA_BUCKET\tomegaml\tdefault" in done.stdout.splitlines()
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(env: dict[str, str], shell: str) -> None:
    script = run(env, "completion", shell).stdout
    for word in ("datasets", "predict-proba", "use-nothing"):
        assert (word in script) == (word != "use-nothing")


COMPLETED = {
    "da": {"datasets"},
    "datasets re": {"rename", "revoke"},
    "-c dev datasets re": {"rename", "revoke"},
    "--json datasets re": {"rename", "revoke"},
    "datasets put t.csv --ap": {"--append"},
    "datasets put t.csv --dry": {"--dry-run"},
    "datasets get --format ''": set(),
    "completion z": {"zsh"},
    "help mod": {"models"},
}


def test_completion_works_in_bash(env: dict[str, str]) -> None:
    (Path(env["HOME"]) / "c.sh").write_text(run(env, "completion", "bash").stdout)
    asked = [
        f"COMP_WORDS=(omegacli {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
        "_omegacli; echo ${COMPREPLY[@]}"
        for words in COMPLETED
    ]
    done = subprocess.run(
        ["bash", "-c", "\n".join(["source ~/c.sh", *asked])],
        env=env,
        capture_output=True,
        text=True,
        timeout=30,
    )
    found = [set(line.split()) for line in done.stdout.splitlines()]
    assert dict(zip(COMPLETED, found, strict=True)) == COMPLETED, done.stderr


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("5", 5),
        ("-5", -5),
        ("1e3", 1000.0),
        ("2.50", 2.5),
        ("true", True),
        ("null", None),
        ("'5'", "5"),
        ("abc", "abc"),
        ("[1, 'a']", [1, "a"]),
        ("2026", 2026),
        ("1.2.3", "1.2.3"),
        ("", ""),
        ("e5", "e5"),
        (".", "."),
    ],
)
def test_values_are_what_they_look_like(text: str, meant: Any) -> None:
    value = literals.value(text)
    assert value == meant and type(value) is type(meant)


def test_dates_are_dates() -> None:
    assert literals.value("2026-01-31").isoformat() == "2026-01-31T00:00:00"
    assert literals.value("2026-01-31T10:00:00Z").isoformat() == "2026-01-31T10:00:00+00:00"
    assert literals.value("2026-02-31") == "2026-02-31"


def test_filters_take_lists_and_texts() -> None:
    found = literals.filters(["a__in=1,2", "b__contains=5", "c=x", "d__between=1,5"])
    assert found == {"a__in": [1, 2], "b__contains": "5", "c": "x", "d__between": [1, 5]}
    with pytest.raises(InvalidInput):
        literals.filters(["a>5"])
    with pytest.raises(InvalidInput):
        literals.filters(["a=1", "a=2"])


def test_json_holds_what_json_cannot() -> None:
    data = {"nan": float("nan"), "inf": float("inf"), "bytes": b"\x00", "none": None, "set": {1}}
    assert json.loads(console.dumps(data)) == {
        "nan": None,
        "inf": None,
        "bytes": "AA==",
        "none": None,
        "set": [1],
    }


def test_progress_says_rate_and_time_left() -> None:
    bar = console.Progress("reading x", 4_000_000, "B")
    bar.done = 1_000_000
    assert bar.line(2.0) == "reading x: 1.0 MB of 4.0 MB (25 %), 500.0 kB/s, 0:06 left"
