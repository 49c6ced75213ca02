"""What is granted on entities, and its end."""
