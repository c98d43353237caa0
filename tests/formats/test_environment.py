"""Options of ``rasterio.Env``: they go wherever a raster is read, and what is secret in them is written nowhere."""

import asyncio
import contextlib
import logging
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import rasterio
from rasterio.session import DummySession
from test_executors import dask_warnings, needs_dask

import tilejit as tj
from executor_kernels import scaled
from tilejit.engine.distribution.task import JobSpec, Task
from tilejit.engine.executors.dask import DaskExecutor
from tilejit.engine.executors.processes import ProcessesExecutor
from tilejit.engine.pipeline.tile_buffers import TileBuffer
from tilejit.errors import TilejitError
from tilejit.formats.gdal.library import Environment
from tilejit.formats.source import storage_of
from tilejit.raster.options import RunOptions
from tilejit.raster.running import plan_job
from tilejit.window import Window

pytestmark = pytest.mark.slow

SECRET = "swordfish-7731"  # noqa: S105 - it opens nothing
OPTIONS = {"GDAL_HTTP_HEADERS": f"Authorization: Bearer {SECRET}", "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}


class Guarded(BaseHTTPRequestHandler):
    """Shows a file in ranges to who knows the secret."""

    content = b""

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        if self.headers.get("Authorization") != f"Bearer {SECRET}":
            self.send_error(401)
            return
        first, last = self.headers.get("Range", f"bytes=0-{len(self.content) - 1}").removeprefix("bytes=").split("-")
        part = self.content[int(first) : int(last) + 1]
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(self.content)}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

    def log_message(self, *_):
        """On no terminal."""


@pytest.fixture(scope="module")
def cells():
    return np.random.default_rng(7).random((1, 256, 256), np.float32)


@pytest.fixture(scope="module")
def address(tmp_path_factory, cells):
    """A raster that lies behind a header; two copies, for GDAL keeps what it has read of a name."""
    path = tmp_path_factory.mktemp("served") / "dem.tif"
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(30, 0, 5e5, 0, -30, 5e6)}
    profile = {"tiled": True, "blockxsize": 64, "blockysize": 64, "count": 1, "height": 256, "width": 256}
    with rasterio.open(path, "w", driver="GTiff", dtype="float32", **profile, **place) as file:
        file.write(cells)
    Guarded.content = path.read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"/vsicurl/http://127.0.0.1:{server.server_port}"
        server.shutdown()


def opened(address, name):
    with rasterio.Env(**OPTIONS):
        return tj.open(f"{address}/{name}.tif")


@pytest.fixture(params=["threads", "serial", "asave", "processes", pytest.param("dask", marks=needs_dask)])
def way(request):
    """The executor, as it is given."""
    with contextlib.ExitStack() as stack:
        if request.param in {"processes", "dask"}:
            executor = ProcessesExecutor(1) if request.param == "processes" else DaskExecutor(1)
            stack.callback(executor.close)
            yield request.param, executor
        else:
            yield request.param, request.param if request.param != "asave" else None


@pytest.fixture
def heard(caplog, capfd):
    """Returns what has been logged, and written to the terminal."""
    caplog.set_level(logging.INFO)
    return lambda: [caplog.text, *capfd.readouterr()]


@dask_warnings
def test_what_was_opened_within_an_env_is_read_within_it(address, cells, tmp_path, way, heard):
    name, executor = way
    raster = scaled(opened(address, name))
    options = {"tile": (64, 64), "profile": {"blockxsize": 64, "blockysize": 64}, "progress": False}
    if name == "asave":
        report = asyncio.run(raster.asave(tmp_path / "out.tif", trace=tmp_path / "trace.json", **options))
    else:
        report = raster.save(tmp_path / "out.tif", executor=executor, **options)
    with rasterio.open(tmp_path / "out.tif") as file:
        np.testing.assert_array_equal(file.read(), 2 * cells)
    with pytest.raises(TilejitError) as caught:
        raster.save(tmp_path / "out.tif", executor=executor)
    said = [str(report), repr(report), repr(raster), str(caught.value), *heard()]
    assert not any(SECRET in text for text in said)
    for file in tmp_path.rglob("*"):
        assert SECRET.encode() not in file.read_bytes()


def test_an_env_around_a_run_reaches_its_workers(cells, monkeypatch, tmp_path):
    """Of any thread: what the main one sets is the process's, and what another sets its own."""
    found, complete = set(), TileBuffer.complete

    def note(buffer, *more):
        found.add((threading.current_thread().name, rasterio.env.get_gdal_config("GDAL_HTTP_TIMEOUT")))
        return complete(buffer, *more)

    def run():
        with rasterio.Env(GDAL_HTTP_TIMEOUT=7):
            scaled(raster).compute(tile=(64, 64), workers=2)
            with ThreadPoolExecutor(1) as pool:
                scaled(saved).compute(executor=pool)

    raster = tj.from_array(cells)
    raster.save(tmp_path / "in.tif", progress=False)
    saved = tj.open(tmp_path / "in.tif")
    monkeypatch.setattr(TileBuffer, "complete", note)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert {name.partition("-")[0] for name, _ in found} >= {"tilejit"}
    assert {value for _, value in found} == {7}
    assert rasterio.env.get_gdal_config("GDAL_HTTP_TIMEOUT") is None


def test_what_is_secret_is_not_shown(address):
    raster = opened(address, "shown")
    source = raster.bands[0].source
    spec = JobSpec.of(plan_job(scaled(raster), None, RunOptions()))
    task = Task("run", None, pickle.dumps(spec), Window(0, 0, 1, 1))
    assert SECRET.encode() in task.spec  # workers need it
    for value in (source, storage_of(source).environment, spec, task, spec.plan):
        assert SECRET not in repr(value)
        assert SECRET not in str(value)
    assert "GDAL_HTTP_HEADERS" in repr(storage_of(source).environment)
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert storage_of(copy).environment == storage_of(source).environment
    copy.close()


class Keys(DummySession):
    """Credentials as boto3 gives them, which is not installed here."""

    def get_credential_options(self):
        return {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": SECRET}


def test_options_of_a_session_and_what_is_there_already():
    with rasterio.Env(session=Keys(), CPL_CURL_GZIP=True):
        given = Environment.current()
    assert dict(given.options)["AWS_SECRET_ACCESS_KEY"] == SECRET
    assert Environment.current() == Environment()
    with rasterio.Env(CPL_CURL_GZIP=False, GDAL_HTTP_TIMEOUT=5):
        with given.entered():
            now = dict(Environment.current().options)
        assert dict(Environment.current().options) == {"CPL_CURL_GZIP": False, "GDAL_HTTP_TIMEOUT": 5}
    assert now == {**dict(given.options), "GDAL_HTTP_TIMEOUT": 5}
    assert Environment.current() == Environment()
    assert rasterio.env.get_gdal_config("AWS_SECRET_ACCESS_KEY") is None
