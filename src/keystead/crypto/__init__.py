"""Secrets and nothing else: keys, tokens, passwords. No database, no HTTP; time and randomness come in."""
