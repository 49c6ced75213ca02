"""The selection below a field as a resolver sees it: schema names, with aliases and fragments resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class SelectedField:
    """One selected field: its schema name, response key, arguments and the selection below it."""

    name: str
    key: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    selection: Selection | None = None


class Selection:
    """The fields selected below one field.

    A resolver returns dicts keyed by schema names. A *nested* field with arguments (a to-many relation) may be selected
    twice under two aliases: its value is looked up by response key, ``SelectedField.key``.
    """

    __slots__ = ("_children", "fields", "names")

    def __init__(self, fields: tuple[SelectedField, ...] = ()) -> None:
        self.fields = fields
        self.names = frozenset(selected.name for selected in fields if selected.name != "__typename")
        self._children: dict[str, Selection] = {}

    def child(self, name: str) -> Selection | None:
        """Return the selection below ``name``, all its aliases merged; None when it is not selected or is a leaf."""
        known = self._children.get(name)
        if known is None:
            below = [one.selection for one in self.fields if one.name == name and one.selection is not None]
            if not below:
                return None
            known = below[0] if len(below) == 1 else Selection(tuple(f for one in below for f in one.fields))
            self._children[name] = known
        return known

    def wants(self, path: str) -> bool:
        """Return whether the field at a dotted path, such as ``pagination.total``, is selected."""
        here: Selection | None = self
        *parents, last = path.split(".")
        for name in parents:
            here = here.child(name) if here is not None else None
        return here is not None and last in here.names

    def __repr__(self) -> str:
        return f"Selection({sorted(self.names)})"


EMPTY = Selection()
"""The selection of a leaf."""
