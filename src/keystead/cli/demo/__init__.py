"""``keystead demo``: a server with something in it, and requests to paste that were just answered."""
