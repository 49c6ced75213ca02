"""Authentication: the journeys that join users, sessions, API keys and brands. Owns no table."""
