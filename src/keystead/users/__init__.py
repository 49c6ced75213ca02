"""Users: people, their passwords, their roles. Sessions and API keys stand above and are not known here."""
