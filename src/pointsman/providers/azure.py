"""Azure's addresses, where the model is a deployment in the path."""

from __future__ import annotations

import re

_DEPLOYMENT = re.compile(r"/deployments/[^/?]+$")


def per_deployment(base_url: str, *, named: bool) -> tuple[str, bool]:
    """The address without its deployment, and whether each model has a path of its own.

    `https://NAME.openai.azure.com/openai` is one address for many deployments. One that ends in `/deployments/NAME`
    serves that alone, unless deployments are named by model. `/openai/v1` takes the deployment in the body.

    Args:
        named: whether the settings name deployments.
    """
    head, mark, query = base_url.partition("?")
    head = head.rstrip("/")
    if named and _DEPLOYMENT.search(head):
        return _DEPLOYMENT.sub("", head) + mark + query, True
    return base_url, head.endswith(".azure.com/openai")


def under(base_url: str, path: str) -> str:
    """The address with a path behind its own, and its query."""
    if not path:
        return base_url
    head, mark, query = base_url.partition("?")
    return head.rstrip("/") + path + mark + query
