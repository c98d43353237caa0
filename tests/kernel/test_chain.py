"""Chains: functions of Rasters with names of their own."""

import numpy as np
import pytest
import rasterio

import tilejit as tj
from tilejit.cli import main
from tilejit.errors import GridMismatchError, KernelError, ParameterError, PlanError
from tilejit.kernel.discovery import find_kernel, kernels_in

Z = np.arange(35, dtype=np.float32).reshape(5, 7) ** 2


@tj.focal
def rise(z):
    return z[0, 1] - z[0, -1]


@tj.local
def at_least(z, *, limit=1.0) -> np.uint8:
    return z >= limit


@tj.local
def scaled(z, *, width=tj.CELL_WIDTH):
    return z / width


@tj.local
def total(a, b):
    return a + b


@tj.chain
def steep(z, *, limit=30.0):
    """Where it rises."""
    return at_least(rise(z), limit=limit)


@tj.chain
def per_metre(z, *, width=tj.CELL_WIDTH):
    return scaled(rise(z), width=width)


@tj.chain
def both(z, w, *, times: int):
    added = z
    for _ in range(times):
        added = total(added, w)
    return added, steep(z)


def expected_rise(z):
    rises = np.full(z.shape, np.nan, np.float32)
    rises[:, 1:-1] = z[:, 2:] - z[:, :-2]
    return rises


def expected_steep(z, limit):
    rises = expected_rise(z)
    return np.where(np.isnan(rises), 255, rises >= limit).astype(np.uint8)


@pytest.mark.parametrize("backend", ["cpu", "python"])
def test_arrays_give_arrays(backend):
    np.testing.assert_array_equal(steep(Z, limit=60, backend=backend, workers=1), expected_steep(Z, 60))
    added, where = both(Z, Z, times=2, backend=backend)
    np.testing.assert_array_equal(added, 3 * Z)
    np.testing.assert_array_equal(where, expected_steep(Z, 30))


def test_rasters_give_a_raster():
    raster = both(tj.from_array(Z), tj.from_array(Z), times=1)
    assert [band.label for band in raster.bands] == ["total", "steep"]
    np.testing.assert_array_equal(raster.band(1).read()[0], 2 * Z)
    assert steep(tj.from_array(Z)).label == "at_least"
    assert steep(tj.from_array(Z)).bands[0].label == "steep"


def test_out_is_computed_into():
    out = np.empty(Z.shape, np.uint8)
    assert steep(Z, out=out) is out
    np.testing.assert_array_equal(out, expected_steep(Z, 30))
    pair = np.empty(Z.shape, np.float32), np.empty(Z.shape, np.uint8)
    assert all(a is b for a, b in zip(both(Z, Z, times=1, out=pair), pair, strict=True))
    np.testing.assert_array_equal(pair[0], 2 * Z)


def test_nodata_of_integers_in_between_is_known():
    """Over arrays too, where one kernel's 255 would be a number to the next."""

    @tj.chain
    def doubled(z):
        return total(at_least(rise(z)), at_least(z))

    assert np.isnan(doubled(Z)[:, [0, -1]]).all()
    assert not np.isnan(doubled(Z)[:, 1:-1]).any()


def test_the_grid_fills_in_what_a_kernel_asks_for(tmp_path):
    with rasterio.open(tmp_path / "z.tif", "w", driver="GTiff", height=5, width=7, count=1, dtype="float32",
                       crs="EPSG:32630", transform=rasterio.Affine(20, 0, 0, 0, -20, 0)) as dataset:  # fmt: skip
        dataset.write(Z[np.newaxis])
    np.testing.assert_array_equal(per_metre(tj.open(tmp_path / "z.tif")).read()[0], expected_rise(Z) / 20)
    np.testing.assert_array_equal(per_metre(Z, width=4), expected_rise(Z) / 4)


def test_a_chain_tells_what_it_is():
    assert (steep.name, steep.kind, steep.summary) == ("steep", "chain", "Where it rises.")
    assert repr(steep).startswith("<chain steep(z, *, limit=30.0) from test_chain.py:")
    assert (per_metre.summary, per_metre.__doc__, per_metre.module) == ("", "", __name__)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (steep, KernelError, r"steep takes 1 raster \(z\), 0 given"),
        (lambda: steep(Z, factor=2), ParameterError, "steep has no parameter factor; it takes limit"),
        (lambda: steep(Z, limit="high"), ParameterError, "steep: limit takes one float, not 'high'"),
        (lambda: both(Z, Z), ParameterError, "both needs times: give it as times="),
        (lambda: steep(np.stack([Z, Z])), KernelError, r"steep: z has the shape \(2, 5, 7\); .*\n?.*pass array\[0\]"),
        (lambda: both(Z, Z[1:], times=1), GridMismatchError, "both: z .* and both: w .* lie on different grids"),
        (lambda: both(tj.from_array(Z), Z, times=1), ParameterError, "both takes one band as w, not ndarray"),
        (lambda: steep(tj.from_array(np.stack([Z, Z]))), ParameterError, "steep takes one band as z, not 2 bands"),
        (lambda: steep(Z, out=np.empty((2, 2))), KernelError, r"out= is \(2, 2\) float64; it must be \(5, 7\) and uint8"),
        (lambda: both(Z, Z, times=1, out=np.empty(1)), KernelError, "both gives 2 arrays, and out= has 1"),
        (lambda: tj.chain(rise), KernelError, "no plain Python function"),
    ],
)  # fmt: skip
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_out_that_is_an_input_is_refused():
    array = np.zeros((3, 3), np.float32)

    @tj.chain
    def twice(z):
        return total(z, z)

    with pytest.raises(KernelError, match="out= shares memory with an input"):
        twice(array, out=array)


def test_what_is_no_chain():
    @tj.chain
    def arithmetic(z):
        return z * "2"

    @tj.chain
    def nothing(z):
        rise(z)

    with pytest.raises(KernelError, match=r"arithmetic failed: TypeError: .*\n  a chain applies kernels and operators"):
        arithmetic(Z)
    with pytest.raises(KernelError, match="nothing returns NoneType: return the Raster"):
        nothing(Z)
    with pytest.raises(KernelError, match="z is annotated uint16 in a chain"):

        @tj.chain
        def annotated(z: np.uint16):
            return rise(z)

    with pytest.raises(KernelError, match="a positional parameter with a default"):

        @tj.chain
        def default(z=1):
            return rise(z)


TEXT = '''
import tilejit as tj


@tj.focal
def rise(z):
    return z[0, 1] - z[0, -1]


@tj.local
def times(z, *, factor=1.0):
    return z * factor


@tj.chain
def much(z, *, factor: int):
    """How much it rises."""
    return times(rise(z), factor=factor)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_chain.py").write_text(TEXT, encoding="utf-8")
    with rasterio.open("z.tif", "w", driver="GTiff", height=5, width=7, count=1, dtype="float32", crs="EPSG:32630",
                       transform=rasterio.Affine(20, 0, 0, 0, -20, 0)) as dataset:  # fmt: skip
        dataset.write(Z[np.newaxis])
    return tmp_path


def test_commands(folder, capsys):
    assert [*kernels_in("mine_chain.py")] == ["rise", "times", "much"]
    assert main(["list", "mine_chain.py"]) == 0
    assert "much   chain  How much it rises.  (z, *, factor)" in capsys.readouterr().out
    assert main(["run", "mine_chain.py:much", "z.tif", "-o", "much.tif", "-p", "factor=3", "--quiet"]) == 0
    with rasterio.open("much.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), 3 * expected_rise(Z))
        assert dataset.descriptions == ("much",)
    assert main(["plan", "mine_chain.py:much", "z.tif", "-p", "factor=3", "--no-time"]) == 0
    plan = capsys.readouterr().out
    assert "rise" in plan
    assert "times" in plan
    assert main(["show", "mine_chain.py:much"]) == 0
    source = capsys.readouterr().out
    assert '"""rise: ' in source
    assert '"""times: ' in source
    compile(source, "source", "exec")
    assert main(["run", "mine_chain.py:much", "z.tif", "-o", "more.tif"]) == 1
    assert "much needs factor: give it as -p factor=" in capsys.readouterr().err


def test_the_shipped_chain_is_found(folder, capsys):
    assert find_kernel("mean_11x11").kind == "chain"
    assert main(["run", "mean_11x11+mean_3x3", "z.tif", "-o", "a.tif", "-o", "b.tif", "--quiet"]) == 0
    with rasterio.open("a.tif") as dataset:
        np.testing.assert_allclose(dataset.read(1)[2, 3], Z[:, :].mean(), rtol=1e-6)
    assert main(["show", "mean_11x11", "--dtype", "uint16"]) == 0
    assert '"""row_sums_11: (float32)' in capsys.readouterr().out


@tj.local
def thrice(z):
    return int(z * 3.0)


@tj.focal(edge=2.5)
def beside(z):
    return z[0, 1] + z[0, -1]


@tj.chain
def beside_whole(z):
    return beside(thrice(z))


def test_a_number_outside_fits_what_is_computed_there():
    """Computed cells outside the raster are held in their own dtype, which would cut the number."""
    z = np.float32([[1, 2, 3]])
    with pytest.raises(PlanError, match=r"thrice gives int32, which cannot be 2\.5 outside the raster"):
        beside_whole(z)
    np.testing.assert_array_equal(beside_whole(z, edge=2), [[8, 12, 8]])


@tj.local
def byte(z) -> np.uint8:
    return z


@tj.chain
def byte_thrice(z):
    return thrice(byte(z))


def test_a_result_in_between_that_equals_its_nodata_is_told_with_that():
    with pytest.warns(tj.NodataWarning, match=r"1 valid pixel .* nodata value \(-2147483648, 255\)"):
        byte_thrice(np.float32([[1, 255]]))
