"""What an operator has to know. Nothing of a user is written, neither tokens nor addresses."""

from __future__ import annotations

import logging
from typing import Final

LOGGER: Final = logging.getLogger("keystead_client")
