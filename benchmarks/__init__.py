"""Measurements, each with its target and a baseline measured in the same minutes."""
