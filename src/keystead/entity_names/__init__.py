"""Names of a brand's entities, against which permissions are checked. Contract §4."""
