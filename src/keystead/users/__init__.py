"""Users, their passwords, e-mail addresses, one-time tokens and roles. Knows neither sessions nor API keys."""
