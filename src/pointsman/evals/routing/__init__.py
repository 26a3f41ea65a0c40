"""How well requests are routed, on tables of what several models made of the same prompts."""
