"""Figures, each beside its own limit and beside something plain run in the same minute."""
