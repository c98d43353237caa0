"""Features of all kinds, laid over cells."""

import numpy as np
import pytest

from tilejit.errors import ParameterError
from tilejit.formats import vector
from tilejit.formats.vector import is_vector, lay, read_features
from tilejit.grid import Grid

shapely = pytest.importorskip("shapely", reason="the extra vector is not installed")

SQUARE = shapely.box(1, 1, 3, 2)
GRID = Grid(5, 6)


def laid(*shapes, grid=GRID):
    return lay(read_features(list(shapes)), grid)


@pytest.mark.parametrize(("zones", "expected"), [
    ("parcels.gpkg", True), (SQUARE, True), ([SQUARE, None], True), (np.array([SQUARE], object), True), ([], True),
    ({"type": "Polygon", "coordinates": []}, True), (np.ones((2, 2), np.uint8), False), ([[1, 2], [3, 4]], False),
    (np.array([[1, 2]], object), False), (4, False),
])  # fmt: skip
def test_what_holds_features(zones, expected):
    assert is_vector(zones) == expected


def test_of_collections_the_polygons_count_and_what_has_no_area_has_none():
    both = shapely.GeometryCollection(
        [shapely.LineString([(0, 0), (1, 1)]), shapely.MultiPolygon([SQUARE]), shapely.Point(2, 2)]
    )
    flat = shapely.Polygon([(0, 0), (1, 1), (0, 0)])
    found = laid(both, shapely.Polygon(), None, flat, shapely.force_3d(SQUARE, 7))
    assert found.polygons.tolist() == [0, 1, 1, 1, 1, 2]
    assert found.points.shape == (10, 2)
    assert found.notes == ("1 polygon repaired by shapely.make_valid: 3 (Too few points in geometry component)",)
    assert laid(None).points.shape == (0, 2)


def test_the_area_outside_is_counted_in_cells():
    grid = Grid(5, 6, (10.0, 0.0, 100.0, 0.0, -10.0, 50.0))
    outside = laid(
        shapely.box(90, 0, 120, 20), shapely.box(0, 0, 50, 50), shapely.box(100, 0, 160, 50), grid=grid
    ).outside
    np.testing.assert_allclose(outside, [2, 25, 0], rtol=1e-12)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "shapely", None)
    with pytest.raises(
        ParameterError, match=r"shapely is needed for this, and is not installed: pip install 'tilejit\[vector\]'"
    ):
        read_features([{"type": "Polygon", "coordinates": []}])
    with pytest.raises(
        ParameterError, match="nothing_such is needed for this, and is not installed: pip install nothing_such"
    ):
        vector.optional_module("nothing_such")


def test_the_file_that_a_missing_package_would_read_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "pyogrio", None)
    path = tmp_path / "parcels.geojson"
    path.write_text("{}")
    for look in (vector.has_layers, read_features):
        with pytest.raises(ParameterError, match=r"pyogrio is needed for .*parcels\.geojson, and is not installed"):
            look(str(path))
