"""One script for each revision, numbered."""
