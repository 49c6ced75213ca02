"""One measurement and its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value with its target (``at_least`` or ``at_most``), None where there is none."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    beside: str = ""

    @property
    def verdict(self) -> str:
        """Whether the target is met."""
        if self.at_least is not None:
            return "met" if self.value >= self.at_least else "NOT MET"
        if self.at_most is not None:
            return "met" if self.value <= self.at_most else "NOT MET"
        return ""

    @property
    def target(self) -> str:
        """The target in words."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""


def show(figures: Sequence[Figure]) -> None:
    """Prints the figures as a table."""
    table = Table("figure", "value", "target", "verdict", "beside")
    for figure in figures:
        value = f"{figure.value:,.3g} {figure.unit}".strip()
        table.add_row(figure.name, value, figure.target, figure.verdict, figure.beside)
    Console().print(table)
