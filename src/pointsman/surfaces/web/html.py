"""HTML in which every value is escaped unless it was made here."""

from __future__ import annotations

import html as standard
from collections.abc import Iterable


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(value: object) -> Html:
    return value if isinstance(value, Html) else Html(standard.escape(str(value), quote=True))


def html(template: str, **values: object) -> Html:
    """Fill `{name}` fields of a template of ours; values are escaped, and lists of HTML joined.

    Attributes must stand in quotation marks.
    """
    filled = {
        name: Html("".join(escape(part) for part in value)) if isinstance(value, list | tuple) else escape(value)
        for name, value in values.items()
    }
    return Html(template.format_map(filled))


def lines(parts: Iterable[str]) -> Html:
    return Html("\n".join(escape(part) for part in parts))
