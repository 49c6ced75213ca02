"""Use cases that combine users, sessions, API keys and brands: login, refresh, logout, mailed links. Has no tables."""
