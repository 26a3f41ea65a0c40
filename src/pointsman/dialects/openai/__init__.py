"""OpenAI's chat, completions and embeddings, and the ways of upstreams that are compatible with them."""
