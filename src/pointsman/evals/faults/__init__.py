"""What becomes of requests whose upstreams fail in every way there is."""
