"""Settings of the server, read once from ``keystead.toml`` and the ``KEYSTEAD_*`` environment."""

from keystead.settings.loading import OUTSIDE_SETTINGS as OUTSIDE_SETTINGS
from keystead.settings.loading import load_settings as load_settings
from keystead.settings.model import DEFAULT_PORT as DEFAULT_PORT
from keystead.settings.model import SECRET_SETTINGS as SECRET_SETTINGS
from keystead.settings.model import Network as Network
from keystead.settings.model import Settings as Settings
