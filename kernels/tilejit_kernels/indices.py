"""Spectral indices: one pixel of several bands becomes one number.

Bands come in the order of their wavelengths: blue, green, red, nir (near infrared), swir1 (about 1.6 µm),
swir2 (about 2.2 µm). Every index computes on reflectance = scale * band + offset, from 0 (black) to 1:

=================================================  =======  ======
what the file holds                                scale    offset
=================================================  =======  ======
reflectance                                        1        0
Landsat Collection 2 Level-2                       2.75e-5  -0.2
Sentinel-2 Level-2A, processing baseline 04.00 on  1e-4     -0.1
Sentinel-2 Level-2A before that                    1e-4     0
=================================================  =======  ======

The scale alone cancels out of the ratios (all but `evi` and `savi`); the offset does not.
Where a band is invalid, so is the result. 0 / 0 gives NaN, hence nodata; any other number / 0 is infinite.
"""

import tilejit as tj


def normalized_difference(high, low, scale, offset):
    """Returns (high - low) / (high + low) of two bands, as reflectance."""
    high = scale * high + offset
    low = scale * low + offset
    return (high - low) / (high + low)


@tj.local
def ndvi(red, nir, *, scale=1.0, offset=0.0):
    """Normalized difference vegetation index, (nir - red) / (nir + red).

    Args:
        red: Red band.
        nir: Near-infrared band.
        scale: Reflectance for each unit of the bands.
        offset: Reflectance where the bands are 0.

    Returns:
        -1 to 1 for reflectances from 0; dense vegetation is near 0.8, bare soil near 0.1, water below 0.

    Source:
        Rouse, J. W. et al. (1974). Monitoring vegetation systems in the Great Plains with ERTS. NASA SP-351,
        309-317.

    Example:
        >>> import numpy as np
        >>> ndvi(np.float32([[0.125, 0.25]]), np.float32([[0.375, 0.25]]))
        array([[0.5, 0. ]], dtype=float32)
    """
    return normalized_difference(nir, red, scale, offset)


@tj.local
def evi(blue, red, nir, *, gain=2.5, red_factor=6.0, blue_factor=7.5, canopy=1.0, scale=1.0, offset=0.0):
    """Enhanced vegetation index, corrected for soil and haze.

    Args:
        blue: Blue band.
        red: Red band.
        nir: Near-infrared band.
        gain: G of the formula.
        red_factor: C1, the aerosol correction's factor for red.
        blue_factor: C2, its factor for blue.
        canopy: L, the canopy background's adjustment.
        scale: Reflectance for each unit of the bands. The index is no ratio: it needs reflectances.
        offset: Reflectance where the bands are 0.

    Returns:
        About -1 to 1; over bright clouds and snow beyond.

    Source:
        Huete, A. et al. (2002). Overview of the radiometric and biophysical performance of the MODIS
        vegetation indices. Remote Sensing of Environment 83, 195-213: G (nir - red) / (nir + C1 red - C2 blue
        + L).

    Example:
        >>> import numpy as np
        >>> evi(np.float32([[0.0]]), np.float32([[0.0]]), np.float32([[0.25]]))
        array([[0.5]], dtype=float32)
    """
    blue = scale * blue + offset
    red = scale * red + offset
    nir = scale * nir + offset
    return gain * (nir - red) / (nir + red_factor * red - blue_factor * blue + canopy)


@tj.local
def savi(red, nir, *, soil=0.5, scale=1.0, offset=0.0):
    """Soil-adjusted vegetation index, (1 + L) (nir - red) / (nir + red + L).

    Args:
        red: Red band.
        nir: Near-infrared band.
        soil: L, from 0 (dense vegetation: the same as NDVI) to 1 (sparse).
        scale: Reflectance for each unit of the bands. The index is no ratio: it needs reflectances.
        offset: Reflectance where the bands are 0.

    Returns:
        -(1 + L) to 1 + L at most.

    Source:
        Huete, A. R. (1988). A soil-adjusted vegetation index (SAVI). Remote Sensing of Environment 25,
        295-309.

    Example:
        >>> import numpy as np
        >>> savi(np.float32([[0.0]]), np.float32([[0.5]]))
        array([[0.75]], dtype=float32)
    """
    red = scale * red + offset
    nir = scale * nir + offset
    return (1.0 + soil) * (nir - red) / (nir + red + soil)


@tj.local
def ndwi(green, nir, *, scale=1.0, offset=0.0):
    """Normalized difference water index of McFeeters, (green - nir) / (green + nir): open water is positive.

    Gao's index of the same name, which tells the water in leaves, is `ndmi`.

    Args:
        green: Green band.
        nir: Near-infrared band.
        scale: Reflectance for each unit of the bands.
        offset: Reflectance where the bands are 0.

    Returns:
        -1 to 1 for reflectances from 0; open water is above 0.

    Source:
        McFeeters, S. K. (1996). The use of the normalized difference water index (NDWI) in the delineation of
        open water features. International Journal of Remote Sensing 17(7), 1425-1432.

    Example:
        >>> import numpy as np
        >>> ndwi(np.float32([[0.375]]), np.float32([[0.125]]))
        array([[0.5]], dtype=float32)
    """
    return normalized_difference(green, nir, scale, offset)


@tj.local
def mndwi(green, swir1, *, scale=1.0, offset=0.0):
    """Modified normalized difference water index, (green - swir1) / (green + swir1): no built-up land.

    Args:
        green: Green band.
        swir1: Short-wave infrared band at about 1.6 µm.
        scale: Reflectance for each unit of the bands.
        offset: Reflectance where the bands are 0.

    Returns:
        -1 to 1 for reflectances from 0; open water is above 0.

    Source:
        Xu, H. (2006). Modification of normalised difference water index (NDWI) to enhance open water features
        in remotely sensed imagery. International Journal of Remote Sensing 27(14), 3025-3033.

    Example:
        >>> import numpy as np
        >>> mndwi(np.float32([[0.375]]), np.float32([[0.125]]))
        array([[0.5]], dtype=float32)
    """
    return normalized_difference(green, swir1, scale, offset)


@tj.local
def nbr(nir, swir2, *, scale=1.0, offset=0.0):
    """Normalized burn ratio, (nir - swir2) / (nir + swir2).

    Args:
        nir: Near-infrared band.
        swir2: Short-wave infrared band at about 2.2 µm.
        scale: Reflectance for each unit of the bands.
        offset: Reflectance where the bands are 0.

    Returns:
        -1 to 1 for reflectances from 0; it falls where vegetation has burnt.

    Source:
        Key, C. H., Benson, N. C. (2006). Landscape assessment. USDA Forest Service RMRS-GTR-164-CD, LA-1 to
        LA-51.

    Example:
        >>> import numpy as np
        >>> nbr(np.float32([[0.375]]), np.float32([[0.125]]))
        array([[0.5]], dtype=float32)
    """
    return normalized_difference(nir, swir2, scale, offset)


@tj.local
def ndmi(nir, swir1, *, scale=1.0, offset=0.0):
    """Normalized difference moisture index, (nir - swir1) / (nir + swir1).

    Args:
        nir: Near-infrared band.
        swir1: Short-wave infrared band at about 1.6 µm.
        scale: Reflectance for each unit of the bands.
        offset: Reflectance where the bands are 0.

    Returns:
        -1 to 1 for reflectances from 0; it rises with the water in leaves.

    Source:
        Wilson, E. H., Sader, S. A. (2002). Detection of forest harvest type using multiple dates of Landsat
        TM imagery. Remote Sensing of Environment 80, 385-396; Gao (1996) has it as NDWI.

    Example:
        >>> import numpy as np
        >>> ndmi(np.float32([[0.375]]), np.float32([[0.125]]))
        array([[0.5]], dtype=float32)
    """
    return normalized_difference(nir, swir1, scale, offset)


@tj.local
def ndbi(nir, swir1, *, scale=1.0, offset=0.0):
    """Normalized difference built-up index, (swir1 - nir) / (swir1 + nir).

    Args:
        nir: Near-infrared band.
        swir1: Short-wave infrared band at about 1.6 µm.
        scale: Reflectance for each unit of the bands.
        offset: Reflectance where the bands are 0.

    Returns:
        -1 to 1 for reflectances from 0; built-up and bare land is above 0.

    Source:
        Zha, Y., Gao, J., Ni, S. (2003). Use of normalized difference built-up index in automatically mapping
        urban areas from TM imagery. International Journal of Remote Sensing 24(3), 583-594.

    Example:
        >>> import numpy as np
        >>> ndbi(np.float32([[0.125]]), np.float32([[0.375]]))
        array([[0.5]], dtype=float32)
    """
    return normalized_difference(swir1, nir, scale, offset)
