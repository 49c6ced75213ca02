"""GraphQL: from a document's text to a response, in the order of security §12.

``documents`` parses, checks and validates a document and caches it as an ``Operation``; ``executor.plan`` compiles it
to closures, ``executor.execute`` runs them for a ``Context``. ``schema`` joins fixed schema and entities of a brand.
"""
