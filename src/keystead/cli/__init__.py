"""The command line interface. It works on the database, not over HTTP. Contract §7."""
