"""``python -m benchmarks [paths] [middleware] [http] [logins] [refreshes] [growth]``: all by default."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from benchmarks import growth, logins, middleware, over_http, paths, refreshes
from benchmarks.figures import Figure, show

SUITES: dict[str, Callable[[], Iterable[Figure]]] = {
    "paths": paths.measure,
    "middleware": middleware.measure,
    "http": over_http.measure,
    "logins": logins.measure,
    "refreshes": refreshes.measure,
    "growth": growth.measure,
}


def main(names: list[str]) -> int:
    """Runs the named suites and shows their figures; 1 when a target is not met."""
    unknown = set(names) - SUITES.keys()
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}", file=sys.stderr)
        return 2
    figures = [figure for name, measure in SUITES.items() if not names or name in names for figure in measure()]
    show(figures)
    return 1 if any(figure.verdict == "NOT MET" for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
