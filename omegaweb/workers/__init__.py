"""Whoever carries out the tasks of accounts: runners that have joined, and how a task gets to them."""
