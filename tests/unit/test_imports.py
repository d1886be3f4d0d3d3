"""Who may import whom. The source is read, not run, so that imports inside functions count too."""

from __future__ import annotations

import ast
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("omegaml", "omegacli", "omegaweb")

# (these modules, must not import, except)
INTERNAL = [
    ("omegaml", ["omegacli", "omegaweb"], []),
    ("omegacli", ["omegaweb"], []),
    ("omegaweb", ["omegacli"], []),
    ("omegaml.backends", ["omegaml"], ["omegaml.backends", "omegaml.errors"]),
    ("omegaml.store", ["omegaml.runtime"], []),
    ("omegacli.deploy", ["omegacli.commands"], []),
]

# a library is used in these places only
ONLY_IN = {
    "django": ["omegaweb"],
    "typer": ["omegacli"],
    "rich": ["omegacli"],
    "celery": ["omegaml.runtime.celery", "omegaml.runtime.worker"],
    "pika": ["omegaml.runtime.broker", "omegaml.runtime.caller"],
    "requests": ["omegaml.rest"],
    "skops": ["omegaml.backends.skops"],
    "docker": ["omegacli.deploy.images", "omegacli.deploy.compose"],
    "kubernetes": ["omegacli.deploy.k8s"],
    "jinja2": ["omegacli.deploy.render"],
    "pymongo": [
        *("omegaml.mongo", "omegaml.store", "omegaml.query", "omegaml.frame", "omegaml.admin"),
        *("omegaml.runtime.runs", "omegaml.runtime.schedule", "omegaml.runtime.tasks", "omegaweb.provision"),
    ],
}

# each costs tens to hundreds of milliseconds, which every command would pay
SLOW = [
    *("celery", "docker", "jinja2", "kubernetes", "numpy", "pandas", "polars", "pyarrow", "pymongo"),
    *("requests", "rich", "sklearn", "skops"),
]


class Import(NamedTuple):
    importer: str
    imported: str
    top: bool  # runs when the importer is imported
    where: str


def below(name: str, prefixes: list[str] | str) -> bool:
    prefixes = [prefixes] if isinstance(prefixes, str) else prefixes
    return any(name == p or name.startswith(p + ".") for p in prefixes)


def imports_in(tree: ast.AST, importer: str, path: Path, top: bool = True) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from (Import(importer, alias.name, top, where) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (Import(importer, f"{base}.{alias.name}", top, where) for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue  # never runs
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_in(node, importer, path, top and not inside)


def every_import() -> list[Import]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found += imports_in(ast.parse(path.read_text("utf-8"), str(path)), name, path)
    return found


IMPORTS = every_import()


def test_the_walk_sees_the_imports_it_judges() -> None:
    assert len(IMPORTS) > 50
    assert any(i.imported.startswith("pymongo") for i in IMPORTS)
    assert any(not i.top for i in IMPORTS)


def test_imports_are_absolute() -> None:
    assert [i.where for i in IMPORTS if i.imported.startswith(".")] == []


@pytest.mark.parametrize(("importer", "banned", "allowed"), INTERNAL, ids=[rule[0] for rule in INTERNAL])
def test_a_package_imports_only_what_lies_below(importer: str, banned: list[str], allowed: list[str]) -> None:
    breaches = [
        f"{i.where} imports {i.imported}"
        for i in IMPORTS
        if below(i.importer, importer) and below(i.imported, banned) and not below(i.imported, allowed)
    ]
    assert breaches == []


def test_commands_never_import_each_other() -> None:
    commands = [i for i in IMPORTS if below(i.importer, "omegacli.commands")]
    assert [
        f"{i.where} imports {i.imported}"
        for i in commands
        if below(i.imported, "omegacli.commands") and not below(i.imported, i.importer)
    ] == []


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    breaches = [
        f"{i.where} imports {i.imported}"
        for i in IMPORTS
        if below(i.imported, library) and not below(i.importer, ONLY_IN[library])
    ]
    assert breaches == []


def test_no_slow_library_is_imported_at_the_top_of_a_command_line_module() -> None:
    breaches = [
        f"{i.where} imports {i.imported}"
        for i in IMPORTS
        if below(i.importer, "omegacli") and i.top and below(i.imported, SLOW)
    ]
    assert breaches == []


def modules_after(statement: str, home: Path) -> tuple[set[str], list[str]]:
    """Run `statement` in a fresh interpreter; return the packages loaded, and the files and hosts touched."""
    code = f"""
import json, os, sys
touched = []
home = os.environ["HOME"]
def hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        touched.append(event)
    elif event in ("open", "os.listdir", "os.scandir", "os.mkdir") and str(args[0]).startswith(home):
        touched.append(f"{{event}} {{args[0]}}")
sys.addaudithook(hook)
{statement}
print(json.dumps([sorted(sys.modules), touched]))
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMEGA", "PYTHON"))}
    environment["HOME"] = str(home)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    modules, touched = json.loads(done.stdout.splitlines()[-1])
    return {name.partition(".")[0] for name in modules}, touched


def test_importing_the_library_loads_nothing_slow_and_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / ".omegaml").mkdir()
    (tmp_path / ".omegaml" / "config.yml").write_text("this: [is not yaml")
    modules, touched = modules_after("import omegaml as om", tmp_path)
    assert "omegaml" in modules
    assert modules.isdisjoint([*SLOW, "bson", "django", "typer", "yaml"])
    assert touched == []


def test_the_command_line_starts_without_anything_slow(tmp_path: Path) -> None:
    modules, _ = modules_after("import omegacli.main", tmp_path)
    assert "omegacli" in modules
    assert modules.isdisjoint([*SLOW, "bson", "django"])


def cpu_milliseconds(statement: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], cwd=ROOT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def test_importing_the_library_costs_less_than_60_cpu_milliseconds() -> None:
    cpu_milliseconds("import omegaml")  # writes the bytecode
    pairs = [(cpu_milliseconds("pass"), cpu_milliseconds("import omegaml")) for _ in range(5)]
    assert statistics.median(cost - bare for bare, cost in pairs) < 60
