"""The Ollama dialect, for clients that speak only that."""
