"""``tilejit calc``: what is computed, and what is refused with its place."""

import numpy as np
import pytest
import rasterio

import tilejit as tj
from tilejit.cli import main
from tilejit.cli.calculating import read_expression
from tilejit.errors import KernelError

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

Z = np.int16([[1, 22, 25], [40, 15, 3]])
SCENE = np.float32([[[1, 2], [3, 4]], [[5, 3], [2, 8]]])


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tj.from_array(Z).save("dem.tif")
    tj.from_array(SCENE).save("scene.tif")


def test_an_index_of_two_bands(capsys):
    words = ["calc", "(nir - red) / (nir + red)", "nir=scene.tif[2]", "red=scene.tif[1]", "-o", "ndvi.tif"]
    assert main(words) == 0
    with rasterio.open("ndvi.tif") as file:
        found = file.read(1)
        assert file.descriptions == ("(nir - red) / (nir + red)",)
    np.testing.assert_array_equal(found, (SCENE[1] - SCENE[0]) / (SCENE[1] + SCENE[0]))
    assert "written   ndvi.tif" in capsys.readouterr().out
    assert main(words) == 1
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("where(z > 20, z, 0) if 10 < z < 30 else -1", np.where((Z > 10) & (Z < 30), np.where(Z > 20, Z, 0), -1)),
        ("max(z, 3, 7)", np.maximum(Z, 7)),
        ("z & 3 == 0", Z & 3 == 0),
        ("not (z > 3 and z < 30)", ~((Z > 3) & (Z < 30))),
        ("z.clip(2, 20).astype('uint8')", np.clip(Z, 2, 20)),
        ("np.sqrt(z) + math.atan2(z, 3) * 0", np.sqrt(Z.astype(np.float32))),
        ("abs(-z) ** 2 // 3 % 5", (Z.astype(int) ** 2) // 3 % 5),
        ("z - z.min()", Z - np.float32(1)),
    ],
)
def test_what_it_means(text, cells):
    found = read_expression(text, ["z=dem.tif"]).compute(backend="python")[0]
    np.testing.assert_array_equal(found, cells.astype(found.dtype))


def test_bands_go_one_by_one():
    assert (read_expression("s * 2", ["s=scene.tif"]).compute(backend="python") == 2 * SCENE).all()


@pytest.mark.parametrize(
    ("text", "message", "caret"),
    [
        ("z +", "no expression: invalid syntax", "^"),
        ("zz + 1", r"no input 'zz' \(did you mean z\?\)", "^^"),
        ("open('x')", "open is no function of expressions", "^^^^"),
        ("z.__class__", "'z.__class__' in an expression", "^" * 11),
        ("[d for d in z]", "in an expression", "^" * 14),
        ("(z / 2) & 1", "bitwise_and of floats", "^" * 11),
        ("z.save('x.tif')", "z.save is no function of expressions", "^" * 6),
        ("z + (lambda: 1)", "'lambda: 1' in an expression", "     ^^^^^^^^^"),
        ("3", "no raster in it", "^"),
        ("z.astype('complex')", "no dtype that a raster holds", "^" * 19),
        ("z + 10 ** 10 ** 10", "out of range", "^"),
    ],
)
def test_refusals(text, message, caret):
    with pytest.raises(KernelError, match=message) as told:
        read_expression(text, ["z=dem.tif"])
    assert f"\n    {caret}" in str(told.value) or caret in str(told.value)


def test_inputs_have_names(capsys):
    assert main(["calc", "z", "dem.tif", "-o", "x.tif"]) == 1
    assert "give nir=dem.tif" in capsys.readouterr().err
    assert main(["calc", "z", "z=dem.tif", "z=dem.tif", "-o", "x.tif"]) == 1
    assert "input z is given twice" in capsys.readouterr().err
