"""The learned classifier of intents: labelled asks, the regression, and how the file that serves is made."""
