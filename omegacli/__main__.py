"""Run the command line as `python -m omegacli`."""

from __future__ import annotations

import sys

from omegacli.main import main

if __name__ == "__main__":
    sys.exit(main())
