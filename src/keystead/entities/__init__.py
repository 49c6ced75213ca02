"""Entities: record types that a brand defines at run time; their tables, their records, their GraphQL types."""
