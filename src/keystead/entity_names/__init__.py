"""Which entities a brand has, by name: what permissions on records are held against. Contract §4."""
