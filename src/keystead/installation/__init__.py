"""What exists once per installation: its signing keys, and the check that every process has the same master key."""
