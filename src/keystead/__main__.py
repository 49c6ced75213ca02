"""``python -m keystead``: the command line."""

from __future__ import annotations

# Worker processes import this file again: they must not pay for the command line.
if __name__ == "__main__":
    from keystead.cli.app import main

    main()
