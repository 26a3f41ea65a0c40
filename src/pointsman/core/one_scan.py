"""A large body in one scan instead of two.

Reading a body as typed fields finds its messages and tools, which are nearly all of it. Where they stand in the body as
most clients write them, their lists are found again by comparing bytes; what is left around them is small and is soon
read as a table of raw fields.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw

LARGE = 16 * 1024
"""Bytes of a body from which on one scan and a comparison are cheaper than two scans."""

INSTEAD = b"0"
"""What stands in place of the list in what is left around it."""


def cut_out(body: bytes, name: bytes, items: Sequence[Raw]) -> tuple[bytes, Raw] | None:
    """The body with `INSTEAD` for a list in it, and that list as it stands in the body.

    Replacing one whole value by another changes nothing else of what a parser finds. Whether it was the value of the
    outermost field `name`, and not of one deeper down, shows when what is left is read: there that field must be
    `INSTEAD`.

    Args:
        items: what the list holds, as some reading of the body found them.

    Returns:
        None where the list is written in another way than with `,` or `, ` between its items.
    """
    label = b'"%b":' % name
    begin = body.find(label) + len(label)
    if begin < len(label):
        return None
    spaced = body.startswith(b" ", begin)
    begin += spaced
    listed = (b", " if spaced else b",").join(items)
    end = begin + 1 + len(listed)
    if not (body.startswith(b"[", begin) and body.startswith(listed, begin + 1) and body.startswith(b"]", end)):
        return None
    return body[:begin] + INSTEAD + body[end + 1 :], Raw(memoryview(body)[begin : end + 1])
