"""API keys: credentials of machines, with just enough permission."""
