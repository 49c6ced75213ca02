"""Claims as the session sees them that makes one: what joins a user's addresses with their sessions."""
