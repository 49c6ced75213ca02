"""Sessions, the refresh tokens that renew them, and the claims of access tokens."""
