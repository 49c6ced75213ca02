"""Sessions: signed-in devices, the refresh tokens that keep them alive, and the claims of access tokens."""
