"""Iteration to a fixed point: the same bits as whole-raster oracles, however tiles are cut and whoever computes them."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import tilejit as tj
from executor_kernels import flooded, heated, labelled, spread
from tilejit.engine import passes
from tilejit.engine.changes import Changes
from tilejit.errors import IterationLimitError, KernelError, ParameterError, PlanError, SinkError
from tilejit.formats.tile_store import TileStoreSink
from tilejit.raster.making import launches_of
from tilejit.window import Window
from tilejit_kernels.morphology import geodesic_dilation, geodesic_erosion, reconstruct_by_dilation

GRID = (30.0, 0.0, 500_000.0, 0.0, -30.0, 5_000_000.0)
MARK, LAND = np.zeros((8, 11), np.float32), np.random.default_rng(3).random((8, 11)) < 0.7
MARK[4, 5] = LAND[4, 5] = True
TILES = [(1, 1), (2, 2), (3, 3), (7, 7), (16, 16)]


def reconstruction(marker, mask, method="dilation"):
    """scikit-image's, over valid cells."""
    reconstructed = pytest.importorskip("skimage.morphology").reconstruction
    outside = -np.inf if method == "dilation" else np.inf
    wide, held = (np.where(np.isnan(a) | np.isnan(mask), outside, a).astype(np.float64) for a in (marker, mask))
    clipped = np.minimum(wide, held) if method == "dilation" else np.maximum(wide, held)
    found = reconstructed(clipped, held, method=method)
    return np.where(np.isinf(found) & ~np.isinf(marker), np.nan, found)


def terrain(seed, shape=(11, 14), holes=0.05):
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.normal(size=shape), 2).astype(np.float32)
    mask[rng.random(shape) < holes] = np.nan
    marker = np.where(rng.random(shape) < 0.03, mask, mask - 0.4).astype(np.float32)
    return marker, mask


def files(tmp_path, **arrays):
    made = []
    for name, array in arrays.items():
        grid = tj.Grid(*array.shape, GRID, "EPSG:32633")
        tj.from_array(array, grid=grid).save(tmp_path / f"{name}.tif", profile={"blockxsize": 16, "blockysize": 16})
        made.append(tj.open(tmp_path / f"{name}.tif"))
    return made


def left_in(folder):
    return sorted(path.name for path in Path(folder).iterdir() if path.name.startswith("."))


@pytest.mark.parametrize("monotone", [False, True])
@pytest.mark.parametrize("tile", TILES)
def test_flooding_is_scipys_propagation(tile, monotone):
    found = tj.iterate(flooded, MARK, LAND.astype(np.uint8), monotone=monotone).read(tile=tile)[0]
    assert np.array_equal(found == 1, ndimage.binary_propagation(MARK > 0, mask=LAND))


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6), st.sampled_from(TILES[2:]), st.sampled_from(["dilation", "erosion"]), st.booleans())
def test_reconstruction_is_scikit_images(seed, tile, method, monotone):
    marker, mask = terrain(seed)
    if method == "erosion":
        marker, mask = -marker, -mask
    kernel = geodesic_dilation if method == "dilation" else geodesic_erosion
    found = tj.iterate(kernel, marker, mask, monotone=monotone).read(tile=tile)[0]
    wanted = reconstruction(marker, mask, method)
    assert np.array_equal(found, wanted.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("options", [{"executor": "serial"}, {"backend": "python"}, {"workers": 3}], ids=str)
@pytest.mark.parametrize("monotone", [False, True])
def test_whoever_computes(options, monotone):
    marker, mask = terrain(8, (15, 13))
    lazy = tj.iterate(geodesic_dilation, marker, mask, monotone=monotone)
    whole = lazy.read()
    assert same(lazy.read(tile=(4, 5), **options), whole)
    assert np.isnan(whole).any()


def same(first, second):
    nan = np.isnan(first) & np.isnan(second)
    return bool(((first.view(np.uint32) == second.view(np.uint32)) | nan).all())


def jacobi(z, sweeps, edge):
    """The sweeps of `heated` by NumPy, and how many there were before nothing changed."""
    mode = {"nodata": "constant", "reflect": "symmetric", "nearest": "edge", "wrap": "wrap"}[edge]
    more = {"constant_values": np.nan} if edge == "nodata" else {}
    for number in range(sweeps):
        padded = np.pad(z, 2, mode, **more)
        total, rows, cols = np.zeros_like(z), *z.shape
        for dy, dx in ((0, 0), (-2, 0), (2, 0), (0, -1), (0, 1)):
            total += padded[2 + dy : 2 + dy + rows, 2 + dx : 2 + dx + cols]
        new = np.floor(total * np.float32(0.2))
        if np.array_equal(new, z, equal_nan=True):
            return z, number
        z = new
    raise AssertionError


@pytest.mark.parametrize("edge", ["nodata", "reflect", "nearest", "wrap"])
@pytest.mark.parametrize("tile", [(1, 1), (3, 2)])
def test_every_sweep_is_jacobis(edge, tile):
    """Values rise and fall, the radius is wider than a tile, and the end depends on every sweep."""
    z = np.random.default_rng(1).integers(0, 50, (6, 7)).astype(np.float32)
    z[2, 3] = np.nan
    wanted, sweeps = jacobi(z, 1000, edge)
    found, report = computed(tj.iterate(heated, z, edge=edge), tile)
    assert np.array_equal(found, wanted, equal_nan=True)
    assert report.earlier[1].sweeps == sweeps + 1


def computed(lazy, tile):
    """The cells of a lazy Raster, and the report of their run."""
    from tilejit.engine.pipeline.run import run_job
    from tilejit.formats.in_memory import ArraySink
    from tilejit.raster.options import RunOptions
    from tilejit.raster.running import plan_job

    cells = np.empty((1, *lazy.grid.shape), np.float32)
    return cells[0], run_job(plan_job(lazy, None, RunOptions(tile=tile)), [ArraySink(cells, lazy.grid)])


def test_only_tiles_that_may_change_are_computed_again():
    """A front goes through ten tiles: a sweep has its tile, and at both ends of that the one beside it."""
    state, mask = np.zeros((1, 40), np.float32), np.ones((1, 40), np.float32)
    state[0, 0] = 1
    found, report = computed(tj.iterate(flooded, state, mask), (1, 4))
    assert found.all()
    assert (report.earlier[1].sweeps, report.earlier[1].tiles) == (40, 10 + 39 + 9 + 9)
    assert "40 sweeps of 67 tiles" in str(report)


@pytest.mark.parametrize("transform", [(30.0, 0, 0, 0, 30.0, 0), (-30.0, 0, 0, 0, -30.0, 0)])
def test_rasters_that_are_stored_upside_down(transform):
    grid = tj.Grid(*MARK.shape, transform, "EPSG:32633")
    mark, land = (tj.from_array(a, grid=grid) for a in (MARK, LAND.astype(np.float32)))
    found = tj.iterate(flooded, mark, land).read(tile=(5, 6))[0]
    assert np.array_equal(found == 1, ndimage.binary_propagation(MARK > 0, mask=LAND))


@pytest.mark.parametrize("monotone", [False, True])
@pytest.mark.parametrize("tile", [(3, 3), (16, 16)])
def test_labels_are_scipys(tile, monotone):
    """Integers with a nodata value: each region takes the largest number of its cells."""
    numbers = np.where(LAND, np.arange(1, LAND.size + 1).reshape(LAND.shape), 0).astype(np.int32)
    grid = tj.Grid(*LAND.shape, GRID, "EPSG:32633")
    lazy = tj.iterate(labelled, tj.from_array(numbers, grid=grid, nodata=0), monotone=monotone)
    found = lazy.read(tile=tile, nodata=0)[0]
    regions, count = ndimage.label(LAND)
    assert found.dtype == np.int32
    assert len(np.unique(found[LAND])) == count
    assert np.array_equal(found, ndimage.maximum(numbers, regions, np.arange(count + 1))[regions] * LAND)


@pytest.mark.parametrize("monotone", [False, True])
def test_annotated_integers_have_their_validity_apart(monotone):
    """Two seeds, and no number anywhere else: each region gets that of its seeds, or none."""
    numbers = np.full(LAND.shape, -32768, np.int16)
    seeds = np.argwhere(LAND)[[0, -1]]
    numbers[tuple(seeds.T)] = 7, 9
    lazy = tj.iterate(spread, numbers, LAND.astype(np.uint8), monotone=monotone)
    regions, count = ndimage.label(LAND, np.ones((3, 3)))
    with pytest.warns(tj.NodataWarning, match="nodata value .-32768"):
        found = lazy.read(tile=(4, 4))[0]
    most = ndimage.maximum(numbers, regions, np.arange(count + 1))[regions]
    assert np.array_equal(found, np.where(LAND, most, -32768))


def test_what_is_declared_monotone_and_is_not():
    wavy = np.random.default_rng(2).integers(0, 50, (8, 8)).astype(np.float32)
    with pytest.raises(KernelError, match=r"heated is declared monotone, and cells .* rise and fall"):
        tj.iterate(heated, wavy, edge="reflect", monotone=True).read()
    with pytest.raises(IterationLimitError, match=r"gone over 5 times, as limit=5 allows"):
        tj.iterate(endless, wavy, edge="reflect", monotone=True, limit=5).read()
    with pytest.raises(IterationLimitError, match=r"64 cells still changed in sweep 5"):
        tj.iterate(endless, wavy, edge="reflect", limit=5).read()


@tj.focal
def endless(z):
    return max(z[0, 1], z[0, 0]) + 1.0


def test_results_are_used_in_other_kernels_and_statistics(tmp_path):
    marker, mask = files(tmp_path, **dict(zip(("marker", "mask"), terrain(4), strict=True)))
    reconstructed = tj.iterate(geodesic_dilation, marker, mask)
    wanted = reconstruction(marker.read()[0], mask.read()[0]).astype(np.float32)
    assert float(reconstructed.max()) == np.nanmax(wanted)
    higher = tj.iterate(geodesic_dilation, marker, raised(reconstructed, by=reconstructed.max()), monotone=True)
    rasters = {tmp_path / "a.tif": reconstructed, tmp_path / "b.tif": higher}
    report = tj.save(rasters, workers=2, profile={"blockxsize": 16, "blockysize": 16})
    assert len(report.earlier) == 5
    assert np.array_equal(tj.open(tmp_path / "a.tif").read()[0], wanted, equal_nan=True)
    with np.errstate(invalid="ignore"):
        ceiling = wanted + np.nanmax(wanted)
    again = reconstruction(marker.read()[0], ceiling).astype(np.float32)
    assert np.array_equal(tj.open(tmp_path / "b.tif").read()[0], again, equal_nan=True)
    assert left_in(tmp_path) == []


@tj.local
def raised(z, *, by):
    return z + by


@pytest.mark.slow
@pytest.mark.parametrize("monotone", [False, True])
def test_on_executors(tmp_path, monotone):
    marker, mask = files(tmp_path, **dict(zip(("marker", "mask"), terrain(5, (40, 30)), strict=True)))
    lazy = tj.iterate(geodesic_dilation, marker, mask, monotone=monotone)
    options = {"tile": (16, 16), "profile": {"blockxsize": 16, "blockysize": 16}}
    with ThreadPoolExecutor(2) as pool:
        lazy.save(tmp_path / "out.tif", executor="processes" if monotone else pool, **options)
    assert same(tj.open(tmp_path / "out.tif").read(), lazy.read())
    assert left_in(tmp_path) == []


KILLED = """
import os, signal, sys
import tilejit as tj
from tilejit.formats.tile_store import TileStoreSink
from tilejit_kernels.morphology import geodesic_dilation

write, count = TileStoreSink.write, iter(range(20))


def killed(*arguments):
    if next(count) == 19:
        os.kill(os.getpid(), signal.SIGKILL)
    write(*arguments)


TileStoreSink.write = killed
marker, mask = (tj.open(f"{sys.argv[1]}/{name}.tif") for name in ("marker", "mask"))
lazy = tj.iterate(geodesic_dilation, marker, mask)
lazy.save(f"{sys.argv[1]}/out.tif", resume=bool(sys.argv[2]), tile=(16, 16), profile={"blockxsize": 16, "blockysize": 16})
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing kills so")
@pytest.mark.parametrize("resume", [False, True])
def test_after_a_kill_the_next_run_leaves_nothing(tmp_path, resume):
    marker, mask = files(tmp_path, **dict(zip(("marker", "mask"), terrain(7, (40, 30)), strict=True)))
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "yes" * resume], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(left_in(tmp_path)) > 0
    lazy = tj.iterate(geodesic_dilation, marker, mask)
    lazy.save(tmp_path / "out.tif", resume=resume, tile=(16, 16), profile={"blockxsize": 16, "blockysize": 16})
    wanted = reconstruction(marker.read()[0], mask.read()[0]).astype(np.float32)
    assert np.array_equal(tj.open(tmp_path / "out.tif").read()[0], wanted, equal_nan=True)
    assert left_in(tmp_path) == []


def test_a_window_is_of_the_whole_and_chains_show_what_they_repeat():
    lazy = tj.iterate(flooded, MARK, LAND.astype(np.uint8), monotone=True)
    assert np.array_equal(lazy.read(Window(2, 3, 4, 5), tile=(3, 3))[0], lazy.read()[0, 2:6, 3:8], equal_nan=True)
    kernels = [kernel.name for kernel, _ in launches_of(reconstruct_by_dilation, [np.dtype(np.float32)] * 2)]
    assert kernels == ["lower_of", "geodesic_dilation"]


def test_the_limit_is_an_error_with_what_still_changes(tmp_path):
    lazy = tj.iterate(flooded, MARK, LAND.astype(np.float32), limit=3)
    with pytest.raises(IterationLimitError, match=r"flooded: \d+ cells? still changed in sweep 3, .*limit=3"):
        lazy.save(tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == []


def test_the_plan_tells_of_sweeps_and_scratch(tmp_path):
    text = str(tj.iterate(flooded, MARK, LAND.astype(np.float32), limit=77).plan(tmp_path / "out.tif"))
    assert "pass 2 of 3" in text
    assert "until no cell changes, at most 77 sweeps" in text
    assert f"1.1 kB at most of {tmp_path}" in text


def test_what_is_refused(tmp_path):
    mark = tj.from_array(MARK)
    with pytest.raises(KernelError, match=r"give a @tj\.focal kernel"):
        tj.iterate(raised, mark)
    with pytest.raises(ParameterError, match="takes mark, land, and 1 raster is"):
        tj.iterate(flooded, mark)
    with pytest.raises(ParameterError, match="limit=0"):
        tj.iterate(flooded, mark, mark, limit=0)
    with pytest.raises(ParameterError, match="until='settled'"):
        tj.iterate(flooded, mark, mark, until="settled")
    with pytest.raises(PlanError, match="nobody knows"):
        tj.iterate(flooded, mark, mark).predict()


def test_a_disk_that_is_too_small_is_told_of(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(passes.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SinkError, match=r"up to 1.1 kB, and .* has 1.0 kB left"):
        tj.iterate(flooded, MARK, LAND.astype(np.float32)).save(tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == []


def failing(monkeypatch, after, error):
    """Writing tiles fails after some."""
    write, count = TileStoreSink.write, iter(range(10**6))

    def fails(self, window, array):
        if next(count) >= after:
            error()
        write(self, window, array)

    monkeypatch.setattr(TileStoreSink, "write", fails)


def ended():
    raise SinkError("ended")


def test_failures_leave_nothing(tmp_path, monkeypatch):
    failing(monkeypatch, 9, ended)
    with pytest.raises(SinkError, match="ended"):
        tj.iterate(flooded, MARK, LAND.astype(np.float32)).save(tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind")
def test_ctrl_c_leaves_nothing(tmp_path, monkeypatch):
    failing(monkeypatch, 9, lambda: signal.raise_signal(signal.SIGINT) or threading.Event().wait(0.1))
    with pytest.raises(KeyboardInterrupt):
        tj.iterate(flooded, MARK, LAND.astype(np.float32)).save(tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("monotone", [False, True])
def test_a_run_that_goes_on_keeps_the_sweeps_that_are_done(tmp_path, monkeypatch, monotone):
    marker, mask = files(tmp_path, **dict(zip(("marker", "mask"), terrain(6, (40, 60)), strict=True)))
    options = {"resume": True, "profile": {"blockxsize": 16, "blockysize": 16}, "tile": (16, 16), "workers": 1}
    lazy = tj.iterate(geodesic_dilation, marker, mask, monotone=monotone)
    copied, whole = lazy.save(tmp_path / "whole.tif", **options).earlier
    wanted, done = tj.open(tmp_path / "whole.tif").read(), []
    first, last = 2 * copied.tiles, 2 * copied.tiles + whole.tiles - 1  # a tile of each raster is copied
    for number in (0, first - 1, first, (first + last) // 2, last):
        with monkeypatch.context() as patched:
            failing(patched, number, ended)
            with pytest.raises(SinkError, match="ended"):
                lazy.save(tmp_path / "out.tif", **options)
        again = lazy.save(tmp_path / "out.tif", **options).earlier[-1]
        done.append(whole.sweeps - again.sweeps)
        assert np.array_equal(tj.open(tmp_path / "out.tif").read(), wanted, equal_nan=True)
        (tmp_path / "out.tif").unlink()
        assert left_in(tmp_path) == []
    assert done[:3] == [0, 0, 0]
    assert done == sorted(done)
    assert done[-1] == whole.sweeps - 1


def test_sweeps_of_another_run_are_not_gone_on_with(tmp_path, monkeypatch):
    marker, mask = files(tmp_path, **dict(zip(("marker", "mask"), terrain(6, (40, 60)), strict=True)))
    options = {"resume": True, "profile": {"blockxsize": 16, "blockysize": 16}, "tile": (16, 16), "workers": 1}
    with monkeypatch.context() as patched:
        failing(patched, 60, ended)
        with pytest.raises(SinkError, match="ended"):
            tj.iterate(geodesic_dilation, marker, mask).save(tmp_path / "out.tif", **options)
    with pytest.raises(PlanError, match=r"sweeps at most"):
        tj.iterate(geodesic_dilation, marker, mask, limit=500).save(tmp_path / "out.tif", **options)
    next(tmp_path.glob("*.jsonl")).unlink()
    lazy = tj.iterate(geodesic_dilation, mask, mask)
    assert lazy.save(tmp_path / "out.tif", **options).earlier[-1].sweeps == 1
    assert np.array_equal(tj.open(tmp_path / "out.tif").read(), mask.read(), equal_nan=True)
    assert left_in(tmp_path) == []


def test_sweeps_that_no_run_has_written_are_named(tmp_path, monkeypatch):
    marker, mask = files(tmp_path, **dict(zip(("marker", "mask"), terrain(6, (40, 60)), strict=True)))
    options = {"resume": True, "profile": {"blockxsize": 16, "blockysize": 16}, "tile": (16, 16), "workers": 1}
    lazy = tj.iterate(geodesic_dilation, marker, mask)
    with monkeypatch.context() as patched:
        failing(patched, 60, ended)
        with pytest.raises(SinkError, match="ended"):
            lazy.save(tmp_path / "out.tif", **options)
    (noted,) = tmp_path.glob(".*/0/sweeps.json")
    for text in ("{", '{"number": 3}'):
        noted.write_text(text)
        with pytest.raises(PlanError, match=r"sweeps\.json: is not as a run wrote it: delete .*passes"):
            lazy.save(tmp_path / "out.tif", **options)


def test_a_run_that_goes_on_keeps_the_end_of_the_iteration(tmp_path, monkeypatch):
    marker, mask = files(tmp_path, **dict(zip(("marker", "mask"), terrain(6, (40, 60)), strict=True)))
    options = {"resume": True, "profile": {"blockxsize": 16, "blockysize": 16}, "tile": (16, 16)}
    from tilejit.formats.geotiff.block_writer import BlockWriter

    write, count = BlockWriter.write, iter(range(100))

    def fails(self, window, array):
        if next(count) >= 5:
            raise SinkError("killed")
        write(self, window, array)

    with monkeypatch.context() as patched:
        patched.setattr(BlockWriter, "write", fails)
        with pytest.raises(SinkError, match="killed"):
            tj.iterate(geodesic_dilation, marker, mask).save(tmp_path / "out.tif", **options)
    assert any(name.endswith(".passes") for name in left_in(tmp_path))
    report = tj.iterate(geodesic_dilation, marker, mask).save(tmp_path / "out.tif", **options)
    assert report.earlier == ()
    wanted = reconstruction(marker.read()[0], mask.read()[0]).astype(np.float32)
    assert np.array_equal(tj.open(tmp_path / "out.tif").read()[0], wanted, equal_nan=True)
    assert left_in(tmp_path) == []


def test_the_sign_of_zero_is_a_change_and_the_bits_of_nan_are_none():
    before = np.array([[0.0, np.nan, 1.0]], np.float32)
    after = np.array([[-0.0, 0, 1.0]], np.float32)
    after.view(np.uint32)[0, 1] = 0xFFC00001
    changes = Changes((False, True))
    changed = changes.finalize(changes.of([before, after], [None, None], Window(0, 0, 1, 3)))
    assert (changed.cells, changed.boxes) == (1, (Window(0, 2, 1, 1),))
