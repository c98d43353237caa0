"""How the blocks of a TIFF are coded: the entropy coders of imagecodecs and predictors of our own."""

from tilejit.formats.codecs.block_codec import BlockCodec
from tilejit.formats.codecs.effort import Effort

__all__ = ["BlockCodec", "Effort"]
