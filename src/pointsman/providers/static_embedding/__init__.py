"""Sentence vectors from a table: one int8 vector for each word piece, weighted, summed and brought to length 1."""
