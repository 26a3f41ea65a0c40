"""LiteLLM beside the gateway: a proxy in an environment and a process of its own, never imported here.

`environment` installs it, `config` says what it offers, `supervisor` keeps it running, `state` tells others where it
is, and `provider` asks it.
"""
