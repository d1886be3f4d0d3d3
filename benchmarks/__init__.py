"""The product beside what a user would use instead, measured in alternating rounds of one run."""
