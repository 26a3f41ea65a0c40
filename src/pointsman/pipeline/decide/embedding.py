"""Which model embeds: one and no other, for vectors of two models cannot be compared."""

from __future__ import annotations

from pointsman.core.catalog import Catalog
from pointsman.core.errors import ModelNotFound, NoCapableModel

from .names import Requested


def embedding_model(requested: Requested, default: str, catalog: Catalog) -> Requested:
    """The one model that is asked for vectors, whatever the name may mean beside it.

    Args:
        default: the name that stands for a request without one; empty: there is none.

    Raises:
        NoCapableModel: no model is named, and none is set.
        ModelNotFound: the settings name one that is not there.
    """
    cards = requested.cards
    if not cards:
        if not default:
            raise NoCapableModel("Name an embedding model: routing.embedding_model sets none.", param="model")
        found = catalog.find(default)
        if found is None:
            raise ModelNotFound(
                f"The request names no embedding model, and {default!r}, which routing.embedding_model names, is not"
                " served. GET /v1/models lists what there is."
            )
        cards = (found,)
    card = next((card for card in cards if "embeddings" in card.capabilities), cards[0])
    return Requested(mode="forced", cards=(card,))
