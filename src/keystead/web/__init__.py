"""The HTTP door: GraphQL straight on ASGI, and the few plain routes beside it."""
