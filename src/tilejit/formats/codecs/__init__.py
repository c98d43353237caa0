"""How the blocks of a TIFF are coded: the entropy coders of imagecodecs and predictors of our own."""

from tilejit.formats.codecs.block_codec import BlockCodec
from tilejit.formats.codecs.compression_level import MixedEncoder

__all__ = ["BlockCodec", "MixedEncoder"]
