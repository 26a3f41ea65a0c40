"""Anthropic's Messages, as callers write them (`request`, `answer`) and upstreams (`upstream`, `stream`, `relay`)."""
