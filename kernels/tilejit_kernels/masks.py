"""Masks: what quality bands say of a pixel, and reclassification by breaks.

Quality bands come as the integers that they are; results are uint8 with 255 for nodata.
"""

import math

import numpy as np

import tilejit as tj

# Landsat Collection 2, QA_PIXEL of Landsat 8 and 9 (4 to 7: the same, without the cirrus bits).
FILL = 1 << 0
DILATED_CLOUD = 1 << 1
CIRRUS = 1 << 2
CLOUD = 1 << 3
CLOUD_SHADOW = 1 << 4
SNOW = 1 << 5
WATER = 1 << 7
CLOUD_CONFIDENCE = 8
SHADOW_CONFIDENCE = 10
SNOW_CONFIDENCE = 12
CIRRUS_CONFIDENCE = 14

# Sentinel-2, QA60.
OPAQUE_CLOUD = 1 << 10
CIRRUS_CLOUD = 1 << 11


@tj.local
def landsat_clear(
    qa: np.uint16,
    *,
    cloud=True,
    dilated_cloud=True,
    cirrus=True,
    shadow=True,
    snow=False,
    water=False,
) -> np.uint8:
    """Pixels that none of the chosen flags is set for, from Landsat Collection 2's QA_PIXEL.

    Args:
        qa: The QA_PIXEL band.
        cloud: Whether clouds (bit 3) are masked.
        dilated_cloud: Whether the margin around clouds (bit 1) is masked.
        cirrus: Whether high-confidence cirrus (bit 2) is masked.
        shadow: Whether cloud shadows (bit 4) are masked.
        snow: Whether snow (bit 5) is masked.
        water: Whether water (bit 7) is masked.

    Returns:
        1 where clear, 0 where masked, nodata (255) where the pixel is fill (bit 0).

    Source:
        USGS (2024). Landsat 8-9 Collection 2 Level 2 Science Product Guide, LSDS-1619, table of QA_PIXEL's
        bits.

    Example:
        >>> import numpy as np
        >>> clear, cloudy, fill = 21824, 22280, 1
        >>> landsat_clear(np.uint16([[clear, cloudy, fill]]))
        array([[  1,   0, 255]], dtype=uint8)
    """
    masked = (
        (CLOUD if cloud else 0)
        | (DILATED_CLOUD if dilated_cloud else 0)
        | (CIRRUS if cirrus else 0)
        | (CLOUD_SHADOW if shadow else 0)
        | (SNOW if snow else 0)
        | (WATER if water else 0)
    )
    clear = 1.0 if (qa & masked) == 0 else 0.0
    return math.nan if (qa & FILL) != 0 else clear


@tj.local
def landsat_water(qa: np.uint16) -> np.uint8:
    """Water, from Landsat Collection 2's QA_PIXEL.

    Args:
        qa: The QA_PIXEL band.

    Returns:
        1 where water (bit 7) is set, else 0; nodata (255) where the pixel is fill (bit 0).

    Source:
        USGS (2024), as in `landsat_clear`.

    Example:
        >>> import numpy as np
        >>> land, water, fill = 21824, 21952, 1
        >>> landsat_water(np.uint16([[land, water, fill]]))
        array([[  0,   1, 255]], dtype=uint8)
    """
    water = 1.0 if (qa & WATER) != 0 else 0.0
    return math.nan if (qa & FILL) != 0 else water


@tj.local
def landsat_confidence(qa: np.uint16) -> tuple[np.uint8, np.uint8, np.uint8, np.uint8]:
    """Confidence of cloud, cloud shadow, snow and cirrus, from Landsat Collection 2's QA_PIXEL.

    Args:
        qa: The QA_PIXEL band.

    Returns:
        Four bands (bits 8-9, 10-11, 12-13 and 14-15): 0 not determined, 1 low, 2 medium (reserved for shadow,
        snow and cirrus), 3 high; nodata (255) where the pixel is fill (bit 0).

    Source:
        USGS (2024), as in `landsat_clear`.

    Example:
        >>> import numpy as np
        >>> cloud, shadow, snow, cirrus = landsat_confidence(np.uint16([[21824, 22280, 1]]))
        >>> cloud
        array([[  1,   3, 255]], dtype=uint8)
        >>> cirrus
        array([[  1,   1, 255]], dtype=uint8)
    """
    # 0 where the pixel is good and NaN where it is fill: what is added to it goes the same way.
    fill = math.nan if (qa & FILL) != 0 else 0.0
    cloud = ((qa >> CLOUD_CONFIDENCE) & 3) + fill
    shadow = ((qa >> SHADOW_CONFIDENCE) & 3) + fill
    snow = ((qa >> SNOW_CONFIDENCE) & 3) + fill
    cirrus = ((qa >> CIRRUS_CONFIDENCE) & 3) + fill
    return cloud, shadow, snow, cirrus


@tj.local
def sentinel2_clear(
    scl: np.uint8,
    *,
    defective=True,
    dark=False,
    shadow=True,
    water=False,
    unclassified=False,
    cloud_medium=True,
    cloud_high=True,
    cirrus=True,
    snow=False,
) -> np.uint8:
    """Pixels that are in none of the chosen classes, from Sentinel-2 Level-2A's scene classification.

    The classes are 0 no data, 1 saturated or defective, 2 dark area (cast shadow), 3 cloud shadow, 4
    vegetation, 5 not vegetated, 6 water, 7 unclassified, 8 cloud of medium and 9 of high probability, 10 thin
    cirrus, 11 snow or ice.

    Args:
        scl: The SCL band.
        defective: Whether class 1 is masked.
        dark: Whether class 2 is masked.
        shadow: Whether class 3 is masked.
        water: Whether class 6 is masked.
        unclassified: Whether class 7 is masked.
        cloud_medium: Whether class 8 is masked.
        cloud_high: Whether class 9 is masked.
        cirrus: Whether class 10 is masked.
        snow: Whether class 11 is masked.

    Returns:
        1 where clear, 0 where masked, nodata (255) in class 0.

    Source:
        ESA, Sentinel-2 Level-2A Algorithm Theoretical Basis Document, S2-PDGS-MPC-ATBD-L2A, scene
        classification; Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD.

    Example:
        >>> import numpy as np
        >>> vegetation, cloud, no_data = 4, 9, 0
        >>> sentinel2_clear(np.uint8([[vegetation, cloud, no_data]]))
        array([[  1,   0, 255]], dtype=uint8)
    """
    masked = (
        (defective and scl == 1)
        or (dark and scl == 2)
        or (shadow and scl == 3)
        or (water and scl == 6)
        or (unclassified and scl == 7)
        or (cloud_medium and scl == 8)
        or (cloud_high and scl == 9)
        or (cirrus and scl == 10)
        or (snow and scl == 11)
    )
    clear = 0.0 if masked else 1.0
    return math.nan if scl == 0 else clear


@tj.local
def sentinel2_cloudless(qa: np.uint16, *, cloud=True, cirrus=True) -> np.uint8:
    """Pixels that none of the chosen flags is set for, from Sentinel-2's QA60.

    QA60 has no bit for nodata: give the pixels that the product leaves out with the band's nodata value.

    Args:
        qa: The QA60 band.
        cloud: Whether opaque clouds (bit 10) are masked.
        cirrus: Whether cirrus (bit 11) is masked.

    Returns:
        1 where clear, 0 where masked.

    Source:
        ESA, Sentinel-2 User Handbook, cloud mask; Google Earth Engine's catalogue has the band's bits as 10
        and 11.

    Example:
        >>> import numpy as np
        >>> sentinel2_cloudless(np.uint16([[0, 1024, 2048]]))
        array([[1, 0, 0]], dtype=uint8)
    """
    masked = (OPAQUE_CLOUD if cloud else 0) | (CIRRUS_CLOUD if cirrus else 0)
    return 1 if (qa & masked) == 0 else 0


@tj.local
def reclassify(
    z,
    *,
    break_1=math.inf,
    break_2=math.inf,
    break_3=math.inf,
    break_4=math.inf,
    break_5=math.inf,
    break_6=math.inf,
    break_7=math.inf,
    break_8=math.inf,
) -> np.uint8:
    """Class of a value: how many of the breaks it reaches.

    Class k runs from its lower break, included, to the next one, excluded, as in ``numpy.digitize``.

    Args:
        z: Any quantity below infinity.
        break_1: Where class 1 begins; infinite: there is no such class.
        break_2: Where class 2 begins, not below `break_1`; so on up to `break_8`.
        break_3: Where class 3 begins.
        break_4: Where class 4 begins.
        break_5: Where class 5 begins.
        break_6: Where class 6 begins.
        break_7: Where class 7 begins.
        break_8: Where class 8 begins.

    Returns:
        Class, 0 to 8.

    Source:
        ``numpy.digitize(z, breaks)``.

    Example:
        >>> import numpy as np
        >>> reclassify(np.float32([[-1, 0, 5, 10]]), break_1=0, break_2=10)
        array([[0, 1, 1, 2]], dtype=uint8)
    """
    lower = (1 if z >= break_1 else 0) + (1 if z >= break_2 else 0)
    lower += (1 if z >= break_3 else 0) + (1 if z >= break_4 else 0)
    upper = (1 if z >= break_5 else 0) + (1 if z >= break_6 else 0)
    upper += (1 if z >= break_7 else 0) + (1 if z >= break_8 else 0)
    return lower + upper
