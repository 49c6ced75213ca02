"""Brands: each one closed world of users, features, policy, keys and brand tokens."""
