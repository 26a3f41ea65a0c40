"""The words that every other part shares. Imports nothing of ours."""
