"""OpenAI's Responses, as callers write them (`request`, `answer`) and upstreams (`upstream`, `stream`, `relay`)."""
