"""Database layer: two drivers behind one small interface, SQL text made once from SQLAlchemy Core."""
