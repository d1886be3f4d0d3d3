"""`omegacli completion`: a script that completes commands and flags, without starting Python."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

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
    flags = [flag[0] for flag in GLOBAL_FLAGS]
    script = _fish(tree, flags) if shell is Shell.fish else _bash(tree, flags, zsh=shell is Shell.zsh)
    console.show("completion", {"shell": shell.value, "script": script}, text=script)


def _walk(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every command with the words that lead to it."""
    yield path, node
    for child in node["commands"]:
        yield from _walk(child, f"{path} {child['name']}".strip())


def _words(node: dict[str, Any]) -> list[str]:
    names = [child["name"] for child in node["commands"]]
    return names + [flag for p in node["params"] for flag in p["flags"] if flag.startswith("--")]


def _bash(tree: dict[str, Any], flags: list[str], *, zsh: bool) -> str:
    cases = "\n".join(
        f"        {shlex.quote(path)}) words={shlex.quote(' '.join(_words(node)))};;"
        for path, node in _walk(tree)
    )
    head = "autoload -U +X bashcompinit && bashcompinit\n" if zsh else ""
    return f"""{head}_omegacli() {{
    local cur="${{COMP_WORDS[COMP_CWORD]}}" path="" words="" word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${{COMP_WORDS[i]}}"
        case "$word" in -*) continue;; esac
        case "$path" in *" "*) break;; esac
        path="${{path:+$path }}$word"
    done
    case "$path" in
{cases}
    esac
    case "$cur" in -*) words="$words {" ".join(flags)}";; esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _omegacli omegacli"""


def _fish(tree: dict[str, Any], flags: list[str]) -> str:
    lines = [f"complete -c omegacli -l {flag[2:]}" for flag in flags]
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
                    lines.append(
                        f"complete -c omegacli -n {shlex.quote(when)} -l {flag[2:]} -d {shlex.quote(about)}"
                    )
    return "\n".join(lines)
