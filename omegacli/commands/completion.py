"""`omegacli completion`: a script that completes commands and flags, without starting Python."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import typer

from omegacli import console

app = typer.Typer()


class Shell(StrEnum):
    """The shells a script can be made for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


@app.command("completion")
def completion(shell: Annotated[Shell, typer.Argument(help="The shell.")]) -> None:
    """Print a completion script: eval "$(omegacli completion bash)"."""
    from omegacli.main import GLOBAL_FLAGS, build, describe

    tree = describe(typer.main.get_command(build(everything=True)), "omegacli")
    flags = [
        Flag(long[2:], short, metavar is not None, help_) for long, short, _, metavar, help_ in GLOBAL_FLAGS
    ]
    script = _fish(tree, flags) if shell is Shell.fish else _bash(tree, flags, zsh=shell is Shell.zsh)
    console.show("completion", {"shell": shell.value, "script": script}, text=script)


class Flag(NamedTuple):
    """A flag that every command takes."""

    long: str
    short: str | None
    has_value: bool
    help: str


def _walk(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every command with the words that lead to it."""
    yield path, node
    for child in node["commands"]:
        yield from _walk(child, f"{path} {child['name']}".strip())


def _words(node: dict[str, Any]) -> list[str]:
    names = [child["name"] for child in node["commands"]]
    choices = [choice for p in node["params"] for choice in p["choices"] or () if p["kind"] == "argument"]
    return names + choices + [flag for p in node["params"] for flag in p["flags"] if flag.startswith("--")]


def _with_value(tree: dict[str, Any], flags: list[Flag]) -> list[str]:
    """Every flag that takes the next word."""
    own = [p["flags"] for _, node in _walk(tree) for p in node["params"] if p["flags"] and p["value"]]
    ours = [[f"--{flag.long}", flag.short or ""] for flag in flags if flag.has_value]
    return sorted({name for names in [*own, *ours] for name in names if name})


def _bash(tree: dict[str, Any], flags: list[Flag], *, zsh: bool) -> str:
    found = {path: _words(node) for path, node in _walk(tree)}
    found["help"] = [*found[""], *found["help"]]
    cases = "\n".join(
        f"        {shlex.quote(path)}) words={shlex.quote(' '.join(words))};;"
        for path, words in found.items()
    )
    head = "autoload -U +X bashcompinit && bashcompinit\n" if zsh else ""
    valued = "|".join(_with_value(tree, flags))
    whole = "|".join(child["name"] for child in tree["commands"] if not child["commands"])
    return f"""{head}_omegacli() {{
    local cur="${{COMP_WORDS[COMP_CWORD]}}" path="" words="" word skip="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${{COMP_WORDS[i]}}"
        if [ -n "$skip" ]; then skip=""; continue; fi
        case "$word" in {valued}) skip=1; continue;; -*) continue;; esac
        case "$path" in *" "*|{whole}) continue;; esac
        path="${{path:+$path }}$word"
    done
    COMPREPLY=()
    if [ -n "$skip" ]; then return; fi
    case "$path" in
{cases}
    esac
    case "$cur" in -*) words="$words {" ".join(f"--{flag.long}" for flag in flags)}";; esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _omegacli omegacli"""


def _fish(tree: dict[str, Any], flags: list[Flag]) -> str:
    lines = [
        f"complete -c omegacli -l {flag.long}"
        + (f" -s {flag.short[1:]}" if flag.short else "")
        + (" -r" if flag.has_value else "")
        + f" -d {shlex.quote(flag.help)}"
        for flag in flags
    ]
    for path, node in _walk(tree):
        seen = [f"__fish_seen_subcommand_from {word}" for word in path.split()]
        if node["commands"]:
            names = " ".join(child["name"] for child in node["commands"])
            seen.append(f"not __fish_seen_subcommand_from {names}")
        when = "; and ".join(seen) or "true"
        for child in node["commands"]:
            about = child["help"].splitlines()[0] if child["help"] else ""
            lines.append(
                f"complete -c omegacli -f -n {shlex.quote(when)} -a {child['name']} -d {shlex.quote(about)}"
            )
        for param in node["params"]:
            for flag in param["flags"]:
                if flag.startswith("--"):
                    about = (param["help"] or "").splitlines()[0] if param["help"] else ""
                    name = f"{flag[2:]} -r" if param["value"] else flag[2:]
                    lines.append(
                        f"complete -c omegacli -n {shlex.quote(when)} -l {name} -d {shlex.quote(about)}"
                    )
    return "\n".join(lines)
