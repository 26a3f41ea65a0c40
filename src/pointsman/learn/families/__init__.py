"""Families of success models, each in a file of its own."""
