"""Brands: isolated tenants with users, features, policy, keys and brand tokens."""
