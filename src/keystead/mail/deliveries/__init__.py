"""Who delivers which mail, for how long nobody else may, and what became of it."""
