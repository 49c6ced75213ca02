"""Door 1: GraphQL. From a document's text to an answer, in the order of security §12.

``documents`` parses, limits and validates a text and keeps it as an ``Operation``; ``plan`` compiles that to closures;
``execute`` runs them against a ``Context``. ``schema`` joins the fixed part with a brand's entities.
"""
