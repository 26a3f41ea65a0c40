"""How well intents are told, on labelled sets."""
