"""Exercises: what a check says, and that it says the same however it is asked."""
