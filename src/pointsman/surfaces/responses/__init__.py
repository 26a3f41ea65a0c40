"""OpenAI's Responses as a way in."""
