"""Ollama's API, as upstreams speak it (`request`, `answer`) and as callers do (`in_request`, `in_answer`)."""
