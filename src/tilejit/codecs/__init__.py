"""How the blocks of a TIFF are coded: the entropy coders of imagecodecs and predictors of our own."""

from tilejit.codecs.block_codec import BlockCodec
from tilejit.codecs.effort import Effort

__all__ = ["BlockCodec", "Effort"]
