"""The HTTP interface: GraphQL directly on ASGI, and a few plain routes."""
