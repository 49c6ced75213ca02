"""Entities: record types that a brand defines at run time, with their tables, records and GraphQL types."""
