"""The command line. It works on the database, not over HTTP; contract §7."""
