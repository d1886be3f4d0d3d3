"""Global flags, the tree of commands and the one error boundary.

Start-up is a feature: a noun's module is imported only when that noun is typed, and `--version` imports
nothing but the standard library.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from omegacli import console
from omegaml.errors import InvalidInput, OmegaError, StorageFull, Unavailable

if TYPE_CHECKING:
    import typer

# noun -> (one line of help, is a command of its own rather than a group)
COMMANDS: dict[str, tuple[str, bool]] = {
    "init": ("Write the client's configuration from an account.", True),
    "config": ("Show and change settings.", False),
    "context": ("Switch between several accounts or clusters.", False),
    "cluster": ("Run the platform: up, down, status, logs.", False),
    "datasets": ("Store, read and query data.", False),
    "models": ("Store, train and ask models.", False),
    "jobs": ("Store and run notebooks.", False),
    "runtime": ("Look at workers and results of tasks.", False),
    "users": ("Manage accounts, their keys and passwords.", False),
    "api": ("Call a route of the REST API.", True),
    "doctor": ("Check this machine, the configuration and the connection.", True),
    "shell": ("Open Python with `om` connected.", True),
    "version": ("Show the versions of client and server.", True),
    "completion": ("Print a completion script for bash, zsh or fish.", True),
    "help": ("Show help for a command, or the whole tree with --json.", True),
}

# long name, short name, field of console.Options, what a value is called (None: a switch), help
GLOBAL_FLAGS: tuple[tuple[str, str | None, str, str | None, str], ...] = (
    ("--context", "-c", "context", "NAME", "context of the configuration to use"),
    ("--config", None, "config", "FILE", "configuration file"),
    ("--root", "-r", "root", "DIR", "folder of the cluster"),
    ("--bucket", None, "bucket", "NAME", "bucket of the store"),
    ("--json", None, "json", None, "one JSON envelope on stdout"),
    ("--plain", None, "plain", None, "tab-separated output, also on a terminal"),
    ("--quiet", "-q", "quiet", None, "no messages and no progress"),
    ("--verbose", "-v", "verbose", None, "say more"),
    ("--debug", None, "debug", None, "show tracebacks"),
    ("--yes", "-y", "yes", None, "answer every question with yes"),
    ("--no-input", None, "no_input", None, "never ask"),
    ("--no-color", None, "no_color", None, "no colours"),
    ("--timeout", None, "timeout", "SECONDS", "how long to wait"),
    ("--dry-run", None, "dry_run", None, "say what would be done and change nothing"),
    ("--version", "-V", "version", None, "show the version"),
    ("--help", "-h", "help", None, "show help"),
)

_EPILOG = "Flags that every command takes, before or after it: see `omegacli --help`."


class Terminated(BaseException):
    """SIGTERM arrived; unwinds like SIGINT, so that locks and half-written files are released."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; every error is shown here and nowhere else."""
    words = list(sys.argv[1:] if argv is None else argv)
    _open_streams()
    # before parsing, so that a usage error is an envelope too
    console.options = console.Options(json="--json" in words[: _end_of_flags(words)])
    with suppress(ValueError):  # not in the main thread: the caller handles signals
        signal.signal(signal.SIGTERM, _terminate)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored on purpose
            signal.signal(signal.SIGINT, _interrupt)
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _silence()
    except BaseException as exc:  # the boundary: whatever it is, it ends as one sentence and a code
        try:
            return _report(exc)
        except BrokenPipeError:
            return _silence()


def parse_globals(words: Sequence[str]) -> tuple[console.Options, list[str]]:
    """Take the global flags out of the command line, wherever they stand before `--`.

    Returns: the options, and the words that are left, `--help` among them.
    Raises: InvalidInput for a missing or unusable value.
    """
    flags = {name: flag for flag in GLOBAL_FLAGS for name in flag[:2] if name}
    values: dict[str, Any] = {}
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--":
            rest += [word, *queue]
            break
        name, equals, value = word.partition("=")
        if not word.startswith("--") and len(word) > 2 and _is_bundle(word, flags):
            queue[:0] = [f"-{letter}" for letter in word[1:]]
            continue
        if name not in flags or (name == "--version" and _is_own_version(rest, equals, queue)):
            rest.append(word)
            continue
        long, _, field, metavar, _ = flags[name]
        if long == "--help":
            rest.append(long)
        elif metavar is None:
            if equals:
                raise InvalidInput(f"{long} takes no value")
            values[field] = True
        else:
            if not equals:
                if not queue:
                    raise InvalidInput(f"{long} needs a value: {long} {metavar}")
                value = queue.pop(0)
            values[field] = _seconds(value) if field == "timeout" else value
    return console.Options(**values), rest


def build(noun: str | None = None, verb: str | None = None, *, everything: bool = False) -> typer.Typer:
    """Return the app with what `noun verb` needs (or with everything); of the rest only names and help."""
    import typer

    app = typer.Typer(
        name="omegacli",
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Deploy omega|ml, and work with its data and models.",
        epilog=_global_help(),
    )
    app.callback()(_root)
    for name, (help_, single) in COMMANDS.items():
        if not (everything or name == noun):
            if single:
                app.command(name, help=help_)(_root)
            else:
                app.add_typer(typer.Typer(), name=name, help=help_)
            continue
        module = _load(name)
        if single:
            app.add_typer(module.app)
        else:
            group = module.app if everything else _only(module.app, verb)
            app.add_typer(group, name=name, help=help_, epilog=_EPILOG, no_args_is_help=True)
    return app


def describe(command: Any, path: str) -> dict[str, Any]:
    """Return what a parsed command takes, and its commands, as data."""
    return {
        "name": path.rpartition(" ")[2],
        "path": path,
        "help": (command.help or "").strip().replace("\x08\n", ""),
        "params": [
            {
                "name": p.name,
                "kind": p.param_type_name,
                "flags": list(p.opts) if p.param_type_name == "option" else [],
                "value": None if getattr(p, "is_flag", False) else (p.metavar or str(p.type.name)),
                "choices": list(getattr(p.type, "choices", ())) or None,
                "required": bool(p.required),
                "repeatable": bool(getattr(p, "multiple", False) or p.nargs == -1),
                "help": getattr(p, "help", None),
            }
            for p in command.params
            if p.name != "help"
        ],
        "commands": [describe(c, f"{path} {name}") for name, c in getattr(command, "commands", {}).items()],
    }


def _run(words: list[str]) -> int:
    console.options, rest = parse_globals(words)
    console.prepare()
    if console.options.version:
        from omegaml import __version__

        console.show("version", {"client": __version__}, text=f"omegacli {__version__}")
        return 0
    noun, verb, *_ = [*(word for word in rest if not word.startswith("-")), None, None]
    if not rest:
        rest = ["--help"]
    import typer

    app = build(noun if noun in COMMANDS else None, verb)
    command = typer.main.get_command(app)
    result = command.main(args=rest, prog_name="omegacli", standalone_mode=False)
    if result == 130:  # the parser turns SIGINT into this code
        raise KeyboardInterrupt
    return result if isinstance(result, int) and result else console.exit_code()


def _only(app: typer.Typer, verb: str | None) -> typer.Typer:
    """A group with the flags of `verb` alone: reading the signatures of all its commands takes 20 ms."""
    from copy import copy

    from typer import Typer

    group = Typer()
    group.registered_callback, group.registered_groups = app.registered_callback, app.registered_groups
    for info in app.registered_commands:
        command = copy(info)
        if (info.name or getattr(info.callback, "__name__", "").replace("_", "-")) != verb:
            command.help = info.help or getattr(info.callback, "__doc__", None)
            command.name = info.name or getattr(info.callback, "__name__", "").replace("_", "-")
            command.callback = _root
        group.registered_commands.append(command)
    return group


def _load(noun: str) -> Any:
    from importlib import import_module

    return import_module(f"omegacli.commands.{noun}")


def _root() -> None:
    """Do nothing: the flags were read before."""


def _report(exc: BaseException) -> int:
    """Show the error and return its exit code."""
    if isinstance(exc, SystemExit):
        if isinstance(exc.__context__, BrokenPipeError):  # the parser makes 1 of it
            return _silence()
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    if isinstance(exc, KeyboardInterrupt):
        console.fail("INTERRUPTED", 130, "interrupted", None)
        return 130
    if isinstance(exc, Terminated):
        console.fail("TERMINATED", 143, "terminated", None)
        return 143
    if console.options.debug:
        import traceback

        console.trace("".join(traceback.format_exception(exc)))
    if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
        exc = StorageFull("no space left for the output", hint="free some space, then try again")
        _drop_output()
    if isinstance(exc, Unavailable):
        from omegacli import connect

        exc = connect.explained(exc)
    if isinstance(exc, OmegaError):
        console.fail(exc.code, exc.exit_code, exc.message, exc.hint, exc.retry, exc.details)
        return exc.exit_code
    usage = _usage(exc)
    if usage is not None:
        console.fail("USAGE", 2, *usage)
        return 2
    if isinstance(exc, MemoryError):
        message, hint = (
            "not enough memory",
            "read less at a time: --columns, --filter, --limit or --chunksize",
        )
    else:
        text = " ".join(str(exc).split()) or "no further description"
        message, hint = (
            f"{type(exc).__name__}: {text}",
            "run the command again with --debug for the traceback",
        )
    console.fail("INTERNAL", 1, message, hint)
    return 1


def _usage(exc: BaseException) -> tuple[str, str] | None:
    """What the parser complains about and the hint, or None if `exc` is not from the parser."""
    format_message = getattr(exc, "format_message", None)
    if format_message is None:
        if type(exc).__name__ == "Abort":
            return "aborted", "nothing was changed"
        return None
    context = getattr(exc, "ctx", None)
    path = context.command_path if context is not None else "omegacli"
    if type(exc).__name__ == "NoArgsIsHelpError" and context is not None:
        return f"{path} needs a command: {', '.join(context.command.commands)}", f"see `{path} --help`"
    message = " ".join(str(getattr(exc, "message", "")).split()) or str(format_message())
    if not message or "Missing" in str(format_message()):
        message = " ".join(str(format_message()).split())
    hint = f"see `{path} --help`"
    near = getattr(exc, "possibilities", None) or _near_flags(getattr(exc, "option_name", None))
    if near:
        hint = f"did you mean {' or '.join(sorted(near))}? {hint}"
    elif ". Did you mean " in message:
        message, _, suggestion = message.partition(". Did you mean ")
        hint = f"did you mean {suggestion} {hint}"
    message = message.rstrip(".").replace("Usage: ", "usage: ")
    return message[:1].lower() + message[1:], hint


def _near_flags(name: str | None) -> list[str]:
    """Global flags like `name`: the parser does not know them."""
    import difflib

    known = [long for long, *_ in GLOBAL_FLAGS]
    return difflib.get_close_matches(name, known, 1) if name else []


def _terminate(number: int, frame: object) -> NoReturn:
    raise Terminated


def _interrupt(number: int, frame: object) -> NoReturn:
    # an instance, which C code that calls our streams passes on; pandas drops what Python's handler raises
    raise KeyboardInterrupt


def _open_streams() -> None:
    """Open the standard streams that the caller has closed (`>&-`), and buffer output.

    With PYTHONUNBUFFERED the stream of bytes is a raw one, which may write less than it is given.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115 (stays open)
    raw = getattr(sys.stdout, "buffer", None)
    if isinstance(raw, io.RawIOBase):
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), line_buffering=True)


def _silence() -> int:
    """The reader of our output has gone: stop, without a word (141 is 128 + SIGPIPE)."""
    _discard(sys.stdout, sys.stderr)
    return 141


def _drop_output() -> None:
    """Forget what stdout holds if it cannot be written: Python would try again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard(sys.stdout)


def _discard(*streams: Any) -> None:
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with suppress(OSError, ValueError):
            os.dup2(devnull, stream.fileno())


def _end_of_flags(words: Sequence[str]) -> int:
    return list(words).index("--") if "--" in words else len(words)


def _is_bundle(word: str, flags: dict[str, Any]) -> bool:
    """Tell whether `word` is several one-letter switches, as `-qy`."""
    return word.startswith("-") and all(f"-{c}" in flags and flags[f"-{c}"][3] is None for c in word[1:])


def _is_own_version(rest: list[str], equals: str, queue: list[str]) -> bool:
    """`get NAME --version 3` is the object's version, not ours."""
    has_command = sum(not word.startswith("-") for word in rest) >= 2
    return has_command and bool(equals or (queue and not queue[0].startswith("-")))


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise InvalidInput(f"--timeout is a number of seconds, not {text!r}")
    return value


def _global_help() -> str:
    lines = ["\b", "Flags, before or after the command:"]
    for long, short, _, metavar, help_ in GLOBAL_FLAGS:
        names = f"{short}, {long}" if short else f"    {long}"
        lines.append(f"  {names + (f' {metavar}' if metavar else ''):<24} {help_}")
    return "\n".join(lines)
