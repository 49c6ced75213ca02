"""Where errors say that they are."""

from __future__ import annotations

import random

from graphql import Source

from keystead.graphql.errors import locations


def test_locations_are_those_of_graphql_core() -> None:
    chance = random.Random(81)
    for _ in range(200):
        text = "".join(chance.choices(("a", "{", " ", "\n", "\r\n", "\r", "\u2028"), k=60))
        # A token begins nowhere else: in particular not between the halves of a line end.
        starts = [at for at, letter in enumerate(text) if letter not in "\r\n"]
        chosen = chance.choices(starts, k=20)
        assert locations(text, chosen) == [Source(text).get_location(start).formatted for start in chosen]


def test_a_text_without_places_has_no_locations() -> None:
    assert locations("{ me }", ()) == []
