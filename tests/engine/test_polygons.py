"""Polygons to runs: shares against areas that shapely cuts, centres against GDAL, the same bits for any window."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from tilejit.engine.polygons import PolygonZones
from tilejit.formats.vector import Features, lay
from tilejit.grid import Grid
from tilejit.window import Window, tiles

shapely = pytest.importorskip("shapely", reason="the extra vector is not installed")

SHAPE = HEIGHT, WIDTH = 11, 14
GRID = Grid(*SHAPE)
WHOLE = Window(0, 0, *SHAPE)
BOXES = shapely.box(*np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), *np.meshgrid(np.arange(1, WIDTH + 1), np.arange(1, HEIGHT + 1)))  # fmt: skip


CENTRES = shapely.points(*(np.indices(SHAPE)[::-1] + 0.5))


def zones_of(shapes, cells, grid=GRID):
    array = np.empty(len(shapes), object)
    array[:] = shapes
    return PolygonZones.of(lay(Features("shapes", array, np.arange(len(shapes)), None), grid), grid, cells)


def shares_of(zones, window=WHOLE):
    """(zone, row, col): the share that each zone has of each cell; no cell is in two runs of a zone."""
    runs, dense = zones.runs(window), np.zeros((len(zones.cells), *window.shape))
    shares = np.ones(len(runs.slots)) if runs.shares is None else runs.shares
    assert ((shares > 0) & (shares <= 1)).all()
    for (slot, row, start, stop), share in zip(runs.where.tolist(), shares, strict=True):
        assert 0 <= start < stop <= window.width
        assert not dense[runs.zones[slot], row, start:stop].any()
        dense[runs.zones[slot], row, start:stop] = share
    return dense


def polygonal(made):
    """The polygons in what `make_valid` made: a spike becomes a line, which GDAL burns too."""
    parts = shapely.get_parts(shapely.get_parts(made))
    return shapely.multipolygons(parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON])


def star(x, y, size, corners, seed):
    """A polygon with a hole, or parts, or neither: what is left of a star."""
    rng = np.random.default_rng(seed)
    angles, far = np.sort(rng.uniform(0, 2 * np.pi, corners)), size * rng.uniform(0.2, 1, corners)
    made = shapely.make_valid(shapely.Polygon(np.column_stack([x + far * np.cos(angles), y + far * np.sin(angles)])))
    return polygonal(made.difference(shapely.Point(x, y).buffer(size * rng.choice([0.0, 0.1, 0.4]))))


stars = st.builds(star, st.floats(-6, WIDTH + 6), st.floats(-6, HEIGHT + 6), st.sampled_from([0.01, 0.4, 3, 9, 500]),
                  st.integers(3, 40), st.integers(0, 1 << 20))  # fmt: skip
eighths = st.integers(-16, 8 * WIDTH + 16).map(lambda n: n / 8)
corners = st.lists(st.tuples(eighths, eighths), min_size=3, max_size=7, unique=True)
jagged = corners.map(lambda points: polygonal(shapely.make_valid(shapely.Polygon(points))))
shapes = st.lists((stars | jagged).filter(lambda made: made.area > 0), min_size=1, max_size=4)
EXAMPLES = settings(deadline=None, max_examples=25)


@EXAMPLES
@given(shapes)
def test_shares_are_areas(drawn):
    found = shares_of(zones_of(drawn, "fraction"))
    for shape, shares in zip(drawn, found, strict=True):
        np.testing.assert_allclose(shares, shapely.area(shapely.intersection(BOXES, shape)), rtol=0, atol=2e-12)


@EXAMPLES
@given(shapes)
def test_centres_are_those_that_gdal_burns(drawn):
    zones = zones_of(drawn, "centre")
    for shape, shares, by_share in zip(drawn, shares_of(zones), zones.by_share, strict=True):
        burnt = rasterize([shape], SHAPE)
        on_edge = shapely.distance(shape.boundary, CENTRES) < 1e-9  # as rounded corners tell
        expected = burnt.astype(bool) & ~on_edge
        assert not (by_share and expected.any())
        if not by_share:
            np.testing.assert_array_equal((shares == 1) & ~on_edge, expected)
            assert set(np.unique(shares)) <= {0, 1}


@EXAMPLES
@given(shapes)
def test_what_is_touched_has_a_share(drawn):
    found = zip(shares_of(zones_of(drawn, "touched")), shares_of(zones_of(drawn, "fraction")), strict=True)
    for touched, shares in found:
        np.testing.assert_array_equal(touched, shares > 0)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_touched_is_what_gdal_burns(seed):
    shape = star(WIDTH / 2 + 0.1, HEIGHT / 2, 7, 17, seed)  # no edge of which meets a corner of cells
    touched, burnt = shares_of(zones_of([shape], "touched"))[0], rasterize([shape], SHAPE, all_touched=True)
    missed = touched != burnt
    assert (touched >= burnt).all()
    assert shares_of(zones_of([shape], "fraction"))[0][missed].max(initial=0) < 0.01  # which GDAL lets pass
    assert missed.sum() < 3


@EXAMPLES
@given(shapes, st.integers(1, HEIGHT), st.integers(1, WIDTH), st.sampled_from(["centre", "fraction", "touched"]))
def test_bits_do_not_depend_on_the_window(drawn, rows, cols, cells):
    zones = zones_of(drawn, cells)
    whole = shares_of(zones)
    for tile in tiles(*SHAPE, rows, cols):
        np.testing.assert_array_equal(shares_of(zones, tile), whole[:, *tile.slices(WHOLE)])


def test_more_than_a_panel_and_more_runs_than_there_is_room_for():
    rng, shape = np.random.default_rng(3), (300, 2100)
    combs = [
        shapely.Polygon([(-5, -5), *((x, 310.0 * (x % 2)) for x in range(2100)), (2105, -5)]).buffer(0) for _ in "ab"
    ]
    drawn = [
        *combs,
        *(star(*rng.uniform(0, 2100, 2), 300, 200, seed) for seed in range(4)),
        shapely.box(3, 3, 2000, 290),
    ]
    zones = zones_of(drawn, "fraction", Grid(*shape))
    whole = shares_of(zones, Window(0, 0, *shape))
    np.testing.assert_allclose(
        whole.sum(axis=(1, 2)), shapely.area(shapely.intersection(drawn, shapely.box(0, 0, 2100, 300))), rtol=1e-12
    )
    for tile in (Window(120, 1000, 20, 60), Window(299, 2000, 1, 100), Window(0, 1023, 300, 2)):
        np.testing.assert_array_equal(shares_of(zones, tile), whole[:, *tile.slices(Window(0, 0, *shape))])


def test_neighbours_share_cells_out():
    points = shapely.MultiPoint(np.random.default_rng(5).uniform(0, 11, (40, 2)))
    parts = shapely.get_parts(shapely.voronoi_polygons(points, extend_to=shapely.box(-9, -9, 40, 40)))
    np.testing.assert_allclose(shares_of(zones_of(list(parts), "fraction")).sum(axis=0), 1, rtol=0, atol=1e-12)
    centres = [part for part in parts if not zones_of([part], "centre").by_share[0]]
    assert len(centres) > 30
    assert shares_of(zones_of(centres, "centre")).sum(axis=0).max() == 1


def test_on_the_borders_of_cells_is_exact():
    square = shares_of(zones_of([shapely.box(3, 4, 7, 9)], "fraction"))[0]
    expected = np.zeros(SHAPE)
    expected[4:9, 3:7] = 1
    np.testing.assert_array_equal(square, expected)
    assert shares_of(zones_of([shapely.box(3, 4, 7, 9)], "touched"))[0].sum() == 20
    diamond = shares_of(zones_of([shapely.Polygon([(4, 4), (6, 6), (4, 8), (2, 6)])], "fraction"))[0]
    assert sorted(diamond[diamond > 0].tolist()) == [0.5] * 8 + [1.0] * 4


@pytest.mark.parametrize("flips", [(False, True), (True, False), (True, True)])
def test_rows_are_those_that_bodies_see(flips):
    north = Grid(*SHAPE, (30.0, 0.0, 600.0, 0.0, -30.0, 900.0))
    rows, cols = flips
    stored = Grid(
        *SHAPE,
        (
            -30.0 if cols else 30.0,
            0.0,
            600.0 + 30 * WIDTH * cols,
            0.0,
            30.0 if rows else -30.0,
            900.0 - 30 * HEIGHT * rows,
        ),
    )
    shape = shapely.Polygon([(650, 850), (1000, 800), (900, 600)])
    whole = shares_of(zones_of([shape], "fraction", north))
    zones = zones_of([shape], "fraction", stored)
    np.testing.assert_array_equal(shares_of(zones), whole)
    tile = Window(3, 5, 7, 6)
    seen = Window(HEIGHT - tile.row_end if rows else 3, WIDTH - tile.col_end if cols else 5, 7, 6)
    np.testing.assert_array_equal(shares_of(zones, tile), whole[:, *seen.slices(WHOLE)])


def test_a_rotated_raster():
    turned = Grid(*SHAPE, (2.0, 1.0, 100.0, 1.0, -2.0, 200.0))
    inner = shapely.Polygon([(2.5, 3), (12, 4.25), (9, 10)])
    outer = shapely.transform(
        inner, lambda xy: np.column_stack([2 * xy[:, 0] + xy[:, 1] + 100, xy[:, 0] - 2 * xy[:, 1] + 200])
    )
    np.testing.assert_allclose(
        shares_of(zones_of([outer], "fraction", turned)), shares_of(zones_of([inner], "fraction")), atol=1e-12
    )


def test_zones_cross_to_other_processes():
    zones = zones_of([shapely.box(1, 1, 4.5, 3)], "fraction")
    np.testing.assert_array_equal(shares_of(pickle.loads(pickle.dumps(zones))), shares_of(zones))  # noqa: S301


def test_borders_that_decimal_fractions_miss():
    grid = Grid(40, 40, (0.1, 0.0, 10.0, 0.0, -0.1, 52.0))
    for k in range(1, 30):
        square = shapely.box(10 + k / 10, 52 - (k + 5) / 10, 10 + (k + 3) / 10, 52 - k / 10)
        shares = shares_of(zones_of([square], "fraction", grid), Window(0, 0, 40, 40))
        assert shares.sum() == np.count_nonzero(shares) == 15
