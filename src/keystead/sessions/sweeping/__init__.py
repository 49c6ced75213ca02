"""Removing what is over for good: ended sessions, and refresh tokens that nothing can come of any more."""
