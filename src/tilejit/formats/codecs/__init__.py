"""How the blocks of a TIFF are coded: the entropy coders of imagecodecs and predictors of our own."""
