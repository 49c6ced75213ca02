"""Refresh tokens: how one is rotated into the next, and what a token deserves that comes back. Security §3."""
