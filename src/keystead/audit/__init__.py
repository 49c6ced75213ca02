"""Audit: what happened and by whom, written in the transaction of the change."""
