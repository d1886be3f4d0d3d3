"""Bringing the platform up and down: one specification, one deployer per target, steps as data."""
