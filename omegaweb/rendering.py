"""The process that makes a page of the notebook at its input: `python -m omegaweb.rendering FORMAT`.

What is in a notebook is somebody's: a few megabytes of text can take minutes and gigabytes to become a page.
So it has limits, and knows nothing of the platform: no setting, and no secret in its environment.
"""

from __future__ import annotations

import resource
import sys

PAGE = 64 << 20
"""Bytes of a page."""

SECONDS, MEMORY = 10, 1 << 30
WRONG = 3
"""Exit status where the notebook is none, or is broken; the last line of what is said tells why."""


def main(format: str) -> int:
    """Make the page. Returns: the exit status, 1 where it takes too much."""
    limits = {resource.RLIMIT_CPU: SECONDS, resource.RLIMIT_AS: MEMORY, resource.RLIMIT_FSIZE: PAGE}
    for what, most in {**limits, resource.RLIMIT_CORE: 0}.items():
        resource.setrlimit(what, (most, most))
    import nbformat

    from omegaml.jobs import rendered

    try:
        notebook = nbformat.reads(sys.stdin.buffer.read().decode("utf-8"), as_version=4)
        sys.stdout.buffer.write(rendered(notebook, format))
        sys.stdout.buffer.flush()
    except (MemoryError, OSError):
        return 1
    except Exception as error:  # of whatever library finds it to be no notebook
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return WRONG
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
