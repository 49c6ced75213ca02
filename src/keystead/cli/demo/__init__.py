"""``keystead demo``: a server with sample data, and a tour of requests to paste, each of which was just answered."""
