"""Roles: named sets of permissions of one brand, and who has which."""
