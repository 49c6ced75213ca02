"""What the middleware and the dependencies of FastAPI say alike."""

from __future__ import annotations

import pytest

from keystead_client.answers import whole_seconds


@pytest.mark.parametrize(("asked", "said"), [(None, "5"), (0.0, "1"), (0.2, "1"), (1.0, "1"), (2.4, "3")])
def test_nobody_is_called_back_too_early(asked: float | None, said: str) -> None:
    assert whole_seconds(asked) == said
