"""Terrain: what the 3x3 window around a cell says about an elevation raster.

Rows run south and columns run east, as a Raster shows itself to all kernels; an array is taken to. `dx` and `dy`
are the cell's width and height on the ground, both positive, and `z_factor` is what elevations are multiplied with
to be in their unit. A Raster brings all three along, in metres; an array needs `dx` and `dy` given, and its
elevations are then taken to be in their unit. Where the cell itself or one that is read is invalid or outside the
raster, so is the result.
"""

import math

import tilejit as tj


def horn(z, dx, dy, z_factor=1.0):
    """Returns the gradient towards east and towards north, after Horn (1981).

    Each is the mean of three central differences across the window, of which the middle one counts twice.
    Differences come before sums: neighbours are close, so in float32 the differences are exact and the sums
    would not be. Reciprocals of the cell's size are multiplied with: they are computed once for a row, and
    divisions of every cell take a slope 14 % longer.

    Args:
        z: Elevation.
        dx: Width of a cell on the ground.
        dy: Height of a cell on the ground.
        z_factor: What elevations are multiplied with to be in the unit of `dx` and `dy`.

    Returns:
        Rise over run towards east and towards north.

    Source:
        Horn, B. K. P. (1981). Hill shading and the reflectance map. Proceedings of the IEEE 69(1), 14-47.
    """
    east = (z[-1, 1] - z[-1, -1]) + 2.0 * (z[0, 1] - z[0, -1]) + (z[1, 1] - z[1, -1])
    north = (z[-1, -1] - z[1, -1]) + 2.0 * (z[-1, 0] - z[1, 0]) + (z[-1, 1] - z[1, 1])
    return east * (0.125 * z_factor / dx), north * (0.125 * z_factor / dy)


@tj.focal(unit="degree")
def slope(z, *, z_factor=tj.Z_FACTOR, dx=tj.GROUND_WIDTH, dy=tj.GROUND_HEIGHT):
    """Slope in degrees, Horn (1981).

    Args:
        z: Elevation.
        z_factor: What elevations are multiplied with to be in the unit of `dx` and `dy`.
        dx: Width of a cell on the ground.
        dy: Height of a cell on the ground.

    Returns:
        Angle against the horizontal, 0 to 90 degrees.

    Source:
        The gradient of Horn (1981), see `horn`; the same as ``gdaldem slope``.

    Example:
        >>> import numpy as np
        >>> plane = 30.0 * np.float32([[0, 1, 2], [0, 1, 2], [0, 1, 2]])
        >>> slope(plane, dx=30, dy=30)[1, 1]
        np.float32(45.0)
    """
    east, north = horn(z, dx, dy, z_factor)
    return math.degrees(math.atan(math.hypot(east, north)))


@tj.focal(unit="degree")
def aspect(z, *, dx=tj.GROUND_WIDTH, dy=tj.GROUND_HEIGHT):
    """Direction in which the slope falls, in degrees clockwise from north, Horn (1981).

    A level cell falls nowhere: its result is NaN, hence nodata (``gdaldem aspect`` writes -9999 there).

    Args:
        z: Elevation.
        dx: Width of a cell on the ground.
        dy: Height of a cell on the ground.

    Returns:
        0 (falls to the north) up to, not including, 360; 90 is east.

    Source:
        The gradient of Horn (1981), see `horn`. ``gdaldem aspect`` agrees where cells are square: it leaves
        out their width and height.

    Example:
        >>> import numpy as np
        >>> falls_west = 30.0 * np.float32([[0, 1, 2], [0, 1, 2], [0, 1, 2]])
        >>> aspect(falls_west, dx=30, dy=30)[1, 1]
        np.float32(270.0)
    """
    east, north = horn(z, dx, dy)
    downhill = math.degrees(math.atan2(east, north)) + 180.0
    compass = 0.0 if downhill >= 360.0 else downhill
    return math.nan if east == 0.0 and north == 0.0 else compass


@tj.focal
def hillshade(z, *, azimuth=315.0, altitude=45.0, z_factor=tj.Z_FACTOR, dx=tj.GROUND_WIDTH, dy=tj.GROUND_HEIGHT):
    """Shaded relief, 1 (dark) to 255 (bright), Horn (1981).

    The cosine of the angle between the surface's normal and the light, scaled as ``gdaldem hillshade`` does
    and left unrounded. Slopes that face away from the light get 1, so that 0 is free for nodata in 8-bit
    files.

    Args:
        z: Elevation.
        azimuth: Where the light comes from, in degrees clockwise from north.
        altitude: How high the light stands, in degrees above the horizon.
        z_factor: What elevations are multiplied with: the conversion to the unit of `dx`, or exaggeration.
        dx: Width of a cell on the ground.
        dy: Height of a cell on the ground.

    Returns:
        Brightness, 1 to 255.

    Source:
        Lambert's law on the gradient of Horn (1981), see `horn`; ``gdaldem hillshade``.

    Example:
        >>> import numpy as np
        >>> level = np.zeros((3, 3), np.float32)
        >>> hillshade(level, altitude=90, dx=30, dy=30)[1, 1]
        np.float32(255.0)
    """
    east, north = horn(z, dx, dy, z_factor)
    light_east = math.sin(math.radians(azimuth)) * math.cos(math.radians(altitude))
    light_north = math.cos(math.radians(azimuth)) * math.cos(math.radians(altitude))
    light_up = math.sin(math.radians(altitude))
    towards_light = light_up - light_east * east - light_north * north
    cosine = towards_light / math.sqrt(1.0 + east * east + north * north)
    return 1.0 + 254.0 * max(cosine, 0.0)


@tj.focal
def multidirectional_hillshade(z, *, altitude=45.0, z_factor=tj.Z_FACTOR, dx=tj.GROUND_WIDTH, dy=tj.GROUND_HEIGHT):
    """Shaded relief lit from 225, 270, 315 and 360 degrees at once, 1 (dark) to 255 (bright), Mark (1992).

    Every light counts with the square of the gradient along its azimuth, so ridges show whatever way they
    run.

    Args:
        z: Elevation.
        altitude: How high the lights stand, in degrees above the horizon; Mark has 30, ``gdaldem`` 45.
        z_factor: What elevations are multiplied with: the conversion to the unit of `dx`, or exaggeration.
        dx: Width of a cell on the ground.
        dy: Height of a cell on the ground.

    Returns:
        Brightness, 1 to 255.

    Source:
        Mark, R. (1992). Multidirectional, oblique-weighted, shaded-relief image of the Island of Hawaii. USGS
        Open-File Report 92-422; weights and scale of ``gdaldem hillshade -multidirectional``.

    Example:
        >>> import numpy as np
        >>> level = np.zeros((3, 3), np.float32)
        >>> multidirectional_hillshade(level, altitude=30, dx=30, dy=30)[1, 1]
        np.float32(128.0)
    """
    east, north = horn(z, dx, dy, z_factor)
    steepness = east * east + north * north
    up = math.sin(math.radians(altitude))
    across = math.cos(math.radians(altitude))
    diagonal = math.sqrt(0.5) * across

    weight_225 = 0.5 * steepness + east * north
    weight_270 = east * east
    weight_315 = 0.5 * steepness - east * north
    weight_360 = north * north
    light_225 = weight_225 * max(up + diagonal * (east + north), 0.0)
    light_270 = weight_270 * max(up + across * east, 0.0)
    light_315 = weight_315 * max(up + diagonal * (east - north), 0.0)
    light_360 = weight_360 * max(up - across * north, 0.0)

    light = (light_225 + light_270 + light_315 + light_360) / (2.0 * steepness)
    return 1.0 + 254.0 * (up if steepness == 0.0 else light / math.sqrt(1.0 + steepness))


@tj.focal(unit="input")
def tpi(z):
    """Topographic position index: how far a cell stands above the mean of its eight neighbours.

    Args:
        z: Elevation.

    Returns:
        Height in the unit of `z`: positive on ridges, negative in valleys, 0 on planes.

    Source:
        Wilson, M. F. J. et al. (2007). Multiscale terrain analysis of multibeam bathymetry data for habitat
        mapping on the continental slope. Marine Geodesy 30, 3-35 (there BPI); ``gdaldem TPI``.

    Example:
        >>> import numpy as np
        >>> tpi(np.float32([[0, 0, 0], [0, 8, 0], [0, 0, 0]]))[1, 1]
        np.float32(8.0)
    """
    above = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            above += z[0, 0] - z[dy, dx]
    return above / 8.0


@tj.focal(unit="input")
def tri(z):
    """Terrain ruggedness index, Riley et al. (1999): root of the eight height differences' summed squares.

    The other index of that name, the mean of the absolute differences (Wilson et al. 2007), is
    ``gdaldem TRI -alg Wilson``.

    Args:
        z: Elevation.

    Returns:
        Ruggedness in the unit of `z`, from 0.

    Source:
        Riley, S. J., DeGloria, S. D., Elliot, R. (1999). A terrain ruggedness index that quantifies
        topographic heterogeneity. Intermountain Journal of Sciences 5(1-4), 23-27; ``gdaldem TRI -alg
        Riley``.

    Example:
        >>> import numpy as np
        >>> tri(np.float32([[0, 0, 0], [0, 2, 0], [2, 2, 2]]))[1, 1]
        np.float32(4.472136)
    """
    squares = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            difference = z[dy, dx] - z[0, 0]
            squares += difference * difference
    return math.sqrt(squares)


@tj.focal(unit="input")
def roughness(z):
    """Roughness: the largest minus the smallest elevation of the 3x3 window.

    Args:
        z: Elevation.

    Returns:
        Height difference in the unit of `z`, from 0.

    Source:
        Wilson, M. F. J. et al. (2007), as in `tpi`; ``gdaldem roughness``.

    Example:
        >>> import numpy as np
        >>> roughness(np.float32([[1, 2, 3], [4, 5, 6], [7, 8, 10]]))[1, 1]
        np.float32(9.0)
    """
    lowest = z[0, 0]
    highest = z[0, 0]
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            lowest = min(lowest, z[dy, dx])
            highest = max(highest, z[dy, dx])
    return highest - lowest


def quadratic(z, dx, dy, z_factor=1.0):
    """Returns coefficients D to H of the surface through the window, Zevenbergen & Thorne (1987).

    Args:
        z: Elevation.
        dx: Width of a cell on the ground.
        dy: Height of a cell on the ground.
        z_factor: What elevations are multiplied with to be in the unit of `dx` and `dy`.

    Returns:
        D, E, F, G, H of Z = Ax²y² + Bx²y + Cxy² + Dx² + Ey² + Fxy + Gx + Hy + I, x running east and y north.
    """
    d = ((z[0, -1] - z[0, 0]) + (z[0, 1] - z[0, 0])) * (0.5 * z_factor / (dx * dx))
    e = ((z[-1, 0] - z[0, 0]) + (z[1, 0] - z[0, 0])) * (0.5 * z_factor / (dy * dy))
    f = ((z[-1, 1] - z[-1, -1]) - (z[1, 1] - z[1, -1])) * (0.25 * z_factor / (dx * dy))
    g = (z[0, 1] - z[0, -1]) * (0.5 * z_factor / dx)
    h = (z[-1, 0] - z[1, 0]) * (0.5 * z_factor / dy)
    return d, e, f, g, h


@tj.focal(unit="1/m")
def profile_curvature(z, *, z_factor=tj.Z_FACTOR, dx=tj.GROUND_WIDTH, dy=tj.GROUND_HEIGHT):
    """Profile curvature, along the slope's fall, Zevenbergen & Thorne (1987).

    Positive where the slope is convex and steepens downhill (water speeds up), negative where it is concave.
    A level cell has no fall: 0.

    Args:
        z: Elevation.
        z_factor: What elevations are multiplied with to be in the unit of `dx` and `dy`.
        dx: Width of a cell on the ground.
        dy: Height of a cell on the ground.

    Returns:
        Change of gradient for each unit of ground, negated; any real number, in 1 / unit of `dx`.

    Source:
        Zevenbergen, L. W., Thorne, C. R. (1987). Quantitative analysis of land surface topography. Earth
        Surface Processes and Landforms 12, 47-56: -2 (DG² + EH² + FGH) / (G² + H²).

    Example:
        >>> import numpy as np
        >>> falls_faster_eastward = -np.float32([[0, 1, 4], [0, 1, 4], [0, 1, 4]])
        >>> profile_curvature(falls_faster_eastward, dx=1, dy=1)[1, 1]
        np.float32(2.0)
    """
    d, e, f, g, h = quadratic(z, dx, dy, z_factor)
    steepness = g * g + h * h
    curvature = -2.0 * (d * g * g + e * h * h + f * g * h) / steepness
    return 0.0 if steepness == 0.0 else curvature


@tj.focal(unit="1/m")
def plan_curvature(z, *, z_factor=tj.Z_FACTOR, dx=tj.GROUND_WIDTH, dy=tj.GROUND_HEIGHT):
    """Plan curvature, across the slope's fall, Zevenbergen & Thorne (1987).

    Positive where the slope is concave across and water gathers (a hollow), negative where it is convex and
    water parts (a spur). A level cell has no fall: 0.

    Args:
        z: Elevation.
        z_factor: What elevations are multiplied with to be in the unit of `dx` and `dy`.
        dx: Width of a cell on the ground.
        dy: Height of a cell on the ground.

    Returns:
        Second derivative across the fall; any real number, in 1 / unit of `dx`.

    Source:
        Zevenbergen, L. W., Thorne, C. R. (1987), as in `profile_curvature`: 2 (DH² + EG² - FGH) / (G² + H²).

    Example:
        >>> import numpy as np
        >>> valley_falls_south = np.float32([[4, 3, 4], [3, 2, 3], [2, 1, 2]])
        >>> plan_curvature(valley_falls_south, dx=1, dy=1)[1, 1]
        np.float32(2.0)
    """
    d, e, f, g, h = quadratic(z, dx, dy, z_factor)
    steepness = g * g + h * h
    curvature = 2.0 * (d * h * h + e * g * g - f * g * h) / steepness
    return 0.0 if steepness == 0.0 else curvature
