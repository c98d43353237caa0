"""Where outputs go: nobody's file, folder or device is taken for one, however the name leads there."""

import errno
import os
import shutil
import socket
import stat
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from test_sink import GRID, noise, open_sink, profile_of, save

import tilejit as tj
from sinks_for_tests import Written
from tilejit.cli import main
from tilejit.engine.pipeline.journal import Journal
from tilejit.engine.pipeline.stopwatch import checked_trace
from tilejit.errors import NameTakenError, SinkError, printable
from tilejit.formats.gdal.new_file import write_png
from tilejit.formats.geotiff_sink import BlockSink
from tilejit.formats.publishing import replacing_folder, sync_path
from tilejit.formats.registry import checked_target, places_of
from tilejit.formats.target import Checkpoint, hidden_beside
from tilejit.grid import Metric
from tilejit.system import files
from tilejit.system.files import rename_new

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links, devices and FIFOs")
KINDS = ["tif", "vrt", "zarr"]
WRITTEN = [*KINDS, "html", "json", "png"]
SMALL = {"profile": {"blockxsize": 64, "blockysize": 64}, "tile": (64, 64), "progress": False}


def raster():
    return tj.from_array(np.random.default_rng(1).random(GRID.shape, np.float32), grid=GRID)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def check(path, *, overwrite=True):
    """Has a path of any kind refused, as it is before a run."""
    match path.suffix:
        case ".json":
            checked_trace(path, overwrite=overwrite)
        case ".png":
            write_png(path, np.zeros((4, 4, 3), np.uint8), overwrite=overwrite)
        case ".html":
            tj.compare(slope_kernel(), np.zeros((9, 9), np.float32), html=path, overwrite=overwrite, dx=1.0, dy=1.0)
        case _:
            checked_target(profile_of(path.parent, path=str(path), overwrite=overwrite))


def slope_kernel():
    from tilejit_kernels.terrain import slope

    return slope


def a_fifo(place):
    os.mkfifo(place)
    return place


def a_socket(place):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(place))
    return place


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda _: Path("/dev/null"), "a device"),
        (a_fifo, "a FIFO"),
        (a_socket, "a socket"),
        (lambda place: (place.mkdir(), place)[1], "a folder"),
    ],
)
def test_only_files_are_replaced(kind, make, word, tmp_path, monkeypatch):
    if (kind, word) == ("zarr", "a folder"):
        pytest.skip("a Zarr is one")
    if kind == "zarr":
        pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    place, link = make(Path(f"place.{kind}")), Path(f"link.{kind}")
    link.symlink_to(place)
    before = os.lstat(place)
    for path in [link] if place.is_absolute() else [place, link]:
        with pytest.raises(SinkError, match=rf"{path.name}: is {word}"):
            check(path)
    assert os.lstat(place).st_ino == before.st_ino
    assert stat.S_IFMT(os.lstat(place).st_mode) == stat.S_IFMT(before.st_mode)
    assert names(tmp_path) == sorted({link.name} | ({place.name} if not place.is_absolute() else set()))


@pytest.mark.parametrize("kind", ["html", "json", "png", "tif", "vrt"])
def test_nothing_is_replaced_that_nobody_asked_for(kind, tmp_path):
    path = tmp_path / f"mine.{kind}"
    path.write_text("mine")
    with pytest.raises(SinkError, match=rf"mine\.{kind}: exists already: give another name, or overwrite=True"):
        check(path, overwrite=False)
    assert path.read_text() == "mine"
    assert names(tmp_path) == [path.name]


def test_a_link_that_leads_in_a_circle_is_no_target(tmp_path):
    (tmp_path / "a.tif").symlink_to(tmp_path / "b.tif")
    (tmp_path / "b.tif").symlink_to(tmp_path / "a.tif")
    with pytest.raises(SinkError, match=r"a\.tif: is a link"):
        check(tmp_path / "a.tif")


def test_what_lies_beside_an_output_is_somebodys_too(tmp_path):
    side = tmp_path / "out.tif.msk"
    side.write_text("mine")
    with pytest.raises(SinkError, match=r"out\.tif\.msk, exists already"):
        raster().save(tmp_path / "out.tif", progress=False)
    assert side.read_text() == "mine"
    side.unlink()
    raster().save(tmp_path / "other.tif", progress=False)
    (tmp_path / "other.tif").rename(side)
    with pytest.raises(SinkError, match=r"out\.tif\.msk is an input"):
        tj.open(side).save(tmp_path / "out.tif", overwrite=True, progress=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [([], "exists already: give another name, or --overwrite"), (["--overwrite"], "is an input and would be written")],
)
def test_compare_spares_its_input(words, message, tmp_path, capsys, monkeypatch):
    raster().save(tmp_path / "dem.tif", progress=False)
    before = (tmp_path / "dem.tif").read_bytes()
    monkeypatch.setattr("tilejit.comparison.compare._Comparing", lambda *_: pytest.fail("it measures"))
    place = str(tmp_path / "dem.tif")
    assert main(["compare", "slope", place, "--html", place, *words]) == 1
    assert message in capsys.readouterr().err
    assert (tmp_path / "dem.tif").read_bytes() == before


@pytest.mark.parametrize("by", ["name", "hard link", "VRT"])
def test_no_input_is_written_by_whatever_name(by, tmp_path):
    raster().save(tmp_path / "a.vrt", progress=False)
    [shard] = (tmp_path / "a.tiles").iterdir()
    target = shard
    if by == "hard link":
        target = tmp_path / "other.tif"
        target.hardlink_to(shard)
    source = tmp_path / "a.vrt" if by == "VRT" else shard
    before = shard.read_bytes()
    with pytest.raises(SinkError, match="is an input and would be written as an output"):
        tj.open(source).save(target, overwrite=True, progress=False)
    assert shard.read_bytes() == before


# --- names that are given without taking them


@pytest.fixture(params=["one step", "links", "placeholders"])
def system(request, monkeypatch):
    """How a name is given that nothing has: as Linux does, as NFS, as FAT."""
    if request.param != "one step":
        monkeypatch.setattr(files, "_renamed_in_one_step", lambda *_: False)
    if request.param == "placeholders":

        def none(self, _):
            raise PermissionError(errno.EPERM, "no links here")

        monkeypatch.setattr(Path, "hardlink_to", none)
    return request.param


def test_a_name_is_given_and_never_taken(system, tmp_path):
    old, new, folder = tmp_path / "old", tmp_path / "new", tmp_path / "folder"
    old.write_text("new text")
    for there in ("a file", "an empty folder", "a folder", "a link"):
        match there:
            case "a file":
                new.write_text("mine")
            case "a link":
                new.symlink_to("nowhere")
            case _:
                new.mkdir()
                if there == "a folder":
                    (new / "mine").touch()
        folder.mkdir(exist_ok=True)
        before = os.lstat(new).st_ino
        for one in (old, folder):
            with pytest.raises(FileExistsError):
                rename_new(one, new)
            assert one.exists()
        assert os.lstat(new).st_ino == before
        shutil.rmtree(new) if new.is_dir() else new.unlink()
    rename_new(old, new)
    assert new.read_text() == "new text"
    (folder / "inner").touch()
    rename_new(folder, tmp_path / "named")
    assert names(tmp_path) == ["named", "new"]
    with pytest.raises(FileNotFoundError):
        rename_new(old, tmp_path / "more")
    assert names(tmp_path) == ["named", "new"]


def test_a_kill_between_two_names_is_gone_on_from(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_renamed_in_one_step", lambda *_: False)
    (tmp_path / "old").write_text("text")
    (tmp_path / "new").hardlink_to(tmp_path / "old")
    rename_new(tmp_path / "old", tmp_path / "new")
    assert names(tmp_path) == ["new"]


def somebody_comes(sink, place):
    """Makes an output's name while the run goes on."""
    array = noise(sink._profile)
    for window in tj_tiles(sink):
        sink.write(window, array[:, *window.slices(tj.Window(0, 0, *GRID.shape))])
    sink.prepare()
    if place.suffix in {".zarr", ".tiles"}:
        place.mkdir()
        (place / "thesis.docx").write_text("years of work")
    else:
        place.write_text("years of work")
    return array


def tj_tiles(sink):
    from tilejit.window import tiles

    return tiles(*GRID.shape, *sink.block)


def cells_of(path):
    if path.suffix == ".zarr":
        return pytest.importorskip("zarr").open_group(path, mode="r")["band_1"][...][np.newaxis]
    with rasterio.open(path) as dataset:
        return dataset.read()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("tif", {}), ("tif", {"COMPRESS": "LERC"}), ("vrt", {}), ("vrt tiles", {}), ("zarr", {})],
)
def test_what_somebody_makes_meanwhile_stays_and_so_does_the_output(kind, options, system, tmp_path):
    kind, _, beside = kind.partition(" ")
    if kind == "zarr":
        pytest.importorskip("zarr")
    path = tmp_path / f"out.{kind}"
    sink = Written(open_sink(profile_of(tmp_path, path=str(path), options=options)))
    place = path.with_suffix(".tiles") if beside else path
    array = somebody_comes(sink, place)
    with pytest.raises(NameTakenError, match=rf"out\.{kind}: is finished, .*it is \S*\.out\.\S+") as caught:
        sink.publish()
    sink.abort()
    mine = place / "thesis.docx" if place.is_dir() else place
    assert mine.read_text() == "years of work"
    kept = next(p for p in tmp_path.glob(f".out.*.finished.{kind}"))
    assert str(kept.with_suffix("")) in str(caught.value)
    np.testing.assert_array_equal(cells_of(kept), array)
    assert len(names(tmp_path)) == 1 + len(places_of(str(path)))


def test_the_other_outputs_get_their_names(tmp_path, monkeypatch):
    prepare = BlockSink.prepare

    def somebody(self):
        prepare(self)
        if "b.tif" in self._profile.path:
            (tmp_path / "b.tif").write_text("mine")

    monkeypatch.setattr(BlockSink, "prepare", somebody)
    with pytest.raises(NameTakenError, match=r"b\.tif: is finished"):
        tj.save({tmp_path / f"{name}.tif": raster() for name in "abc"}, progress=False)
    assert (tmp_path / "b.tif").read_text() == "mine"
    [kept] = tmp_path.glob(".b.*.tif")
    for path in (tmp_path / "a.tif", kept, tmp_path / "c.tif"):
        np.testing.assert_array_equal(cells_of(path), raster().read())


def test_a_folder_that_was_moved_aside_is_told_where_somebody_comes(tmp_path):
    new, target, old = tmp_path / "new", tmp_path / "out", tmp_path / "new.old"
    for folder in (new, target):
        folder.mkdir()
        (folder / folder.name).touch()

    def check(_):
        target.mkdir()  # in the one instant in which nothing has the name
        (target / "somebodys").touch()

    with pytest.raises(NameTakenError) as raised, replacing_folder("out", new, target, check):
        pass
    assert [*map(names, (new, target, old))] == [["new"], ["somebodys"], ["out"]]
    assert raised.value.__notes__ == [f"what was {target} is {old}: somebody has made that name meanwhile"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_a_journal_goes_on_when_its_name_is_free(kind, tmp_path, monkeypatch):
    if kind == "zarr":
        pytest.importorskip("zarr")
    raster().save(tmp_path / "dem.tif", progress=False)
    dem, path = tj.open(tmp_path / "dem.tif"), tmp_path / f"out.{kind}"
    note = Journal.note_complete

    def somebody(self):
        note(self)
        path.mkdir() if kind == "zarr" else path.write_text("mine")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "note_complete", somebody)
        with pytest.raises(NameTakenError, match="is finished"):
            dem.save(path, resume=True, **SMALL)
    with pytest.raises(NameTakenError, match="is finished") as caught:
        dem.save(path, resume=True, **SMALL)
    assert "resume=True" in caught.value.__notes__[-1]
    path.rename(tmp_path / "mine")
    report = dem.save(path, resume=True, **SMALL)
    assert report.tiles == 0
    np.testing.assert_array_equal(cells_of(path), raster().read())
    assert not [name for name in names(tmp_path) if name.startswith(".")]


# --- folders of others


def strange(folder, what):
    match what:
        case "thesis.docx":
            (folder / what).write_text("years of work")
        case "photos":
            (folder / what).mkdir()
            (folder / what / "1.jpg").write_text("a photo")
        case "link":
            (folder / what).symlink_to("/etc")
        case _:
            (folder / what).parent.mkdir(parents=True, exist_ok=True)
            (folder / what).write_text("mine")
    return folder / what


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        *(("vrt", what) for what in ("thesis.docx", "photos", "link", "r00000000_c00009999_16x16.tif")),
        *(
            ("zarr", what)
            for what in (
                "thesis.docx", "photos", "link", "band_1/notes.txt", "band_1/c/0/99999", "band_1/c/0/0.bak", "x/c/1",
                "data/zarr.json",
            )
        ),
    ],
)  # fmt: skip
def test_a_folder_that_holds_anything_else_is_not_replaced(kind, what, tmp_path):
    if kind == "zarr":
        pytest.importorskip("zarr")
    profile = profile_of(tmp_path, path=str(tmp_path / f"out.{kind}"), overwrite=True)
    save(open_sink_of, profile, noise(profile))
    folder = tmp_path / ("out.tiles" if kind == "vrt" else "out.zarr")
    mine = strange(folder, what)
    with pytest.raises(SinkError, match=rf"out\.{kind}: \S+ would be replaced, and holds {what.partition('/zarr')[0]}"):
        open_sink(profile)
    assert os.path.lexists(mine)
    shutil.rmtree(mine) if mine.is_dir() and not mine.is_symlink() else mine.unlink()
    if what == "data/zarr.json":
        mine.parent.rmdir()
    # What comes while the run goes on is not removed either: the output stays beside it.
    sink = Written(open_sink(profile))
    array = noise(profile) + 1
    for window in tj_tiles(sink):
        sink.write(window, array[:, *window.slices(tj.Window(0, 0, *GRID.shape))])
    sink.prepare()
    mine = strange(folder, what)
    with pytest.raises(NameTakenError, match=r"is finished, and does not replace .*would be replaced, and holds"):
        sink.publish()
    sink.abort()
    assert os.path.lexists(mine)
    [kept] = tmp_path.glob(f".out.*.{kind}")
    np.testing.assert_array_equal(cells_of(kept), array)


def open_sink_of(profile, threads):
    return Written(open_sink(profile, threads))


def test_zarrs_of_others_are_replaced_where_their_metadata_names_all(tmp_path):
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "out.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_group("inner").create_array("values", shape=(5, 7), chunks=(2, 3), dtype="f4")[...] = 1
    group.create_array("one", shape=(), dtype="f4")[...] = 1
    (path / "one" / f"c.{'0' * 32}.partial").touch()  # of a worker that was killed
    profile = profile_of(tmp_path, path=str(path), overwrite=True)
    save(open_sink_of, profile, noise(profile))
    np.testing.assert_array_equal(cells_of(path), noise(profile))
    zarr.open_group(tmp_path / "old.zarr", mode="w", zarr_format=2)
    with pytest.raises(SinkError, match=r"holds \.z"):
        check(tmp_path / "old.zarr")


# --- temporary files that others may have planted


def other_users(place):
    place.write_bytes(b"")
    try:
        os.chown(place, 12345, 12345)
    except PermissionError:
        pytest.skip("only root gives files away")


def link_to(victim):
    return lambda place: place.symlink_to(victim)


@pytest.fixture
def victim(tmp_path):
    place = tmp_path / "victim"
    place.write_text("a victim's file")
    return place


PLANTED = ["link", "hard link", "other user", "FIFO"]


def plant(what, place, victim):
    match what:
        case "link":
            place.symlink_to(victim)
        case "hard link":
            place.hardlink_to(victim)
        case "other user":
            other_users(place)
        case "FIFO":
            os.mkfifo(place)


@pytest.mark.parametrize("what", PLANTED)
@pytest.mark.parametrize("stage", ["new", "begun"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_temporary_file_is_not_written(what, stage, kind, tmp_path, victim):
    if kind == "zarr":
        pytest.importorskip("zarr")
    if (what, stage) == ("hard link", "new"):
        pytest.skip("its name alone is removed")
    folder = tmp_path / "shared"
    folder.mkdir()
    profile = profile_of(folder, path=str(folder / f"out.{kind}"), checkpoint=Checkpoint("mark", stage))
    place = folder / f".out.mark.resume.{'tiles' if kind == 'vrt' else kind}"
    plant(what, place, victim)
    before = os.lstat(place).st_ino
    with pytest.raises(
        SinkError,
        match=r"\.out\.mark\.resume\.\w+.* (is a link|is one file by 2 names|belongs to another user|is a FIFO|is no folder)",
    ):
        open_sink(profile)
    assert victim.read_text() == "a victim's file"
    assert os.lstat(place).st_ino == before
    assert names(folder) == [place.name]


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_journal_is_not_written(what, tmp_path, victim):
    place = tmp_path / ".out.mark.resume.jsonl"
    plant(what, place, victim)
    with pytest.raises(
        SinkError, match=r"jsonl.* (is a link|is one file by 2 names|belongs to another user|is a FIFO)"
    ):
        Journal(place, {}, [], [])
    assert victim.read_text() == "a victim's file"
    assert os.path.lexists(place)


@pytest.mark.parametrize("what", ["link", "other user"])
def test_a_planted_vrt_is_not_written(what, tmp_path, victim):
    profile = profile_of(tmp_path, path=str(tmp_path / "out.vrt"), checkpoint=Checkpoint("mark", "new"))
    sink = Written(open_sink(profile))
    plant(what, tmp_path / ".out.mark.resume.vrt", victim)
    for window in tj_tiles(sink):
        sink.write(window, noise(profile)[:, *window.slices(tj.Window(0, 0, *GRID.shape))])
    with pytest.raises(SinkError, match=r"resume\.vrt (is a link|belongs to another user)"):
        sink.publish()
    sink.abort()
    assert victim.read_text() == "a victim's file"


# --- names


LONG = {
    "255 bytes": "d" * 251 + ".tif",
    "250 bytes": "d" * 246 + ".tif",
    "emoji": "🏔" * 62 + "d.tif",
    "umlauts": "ü" * 125 + ".tif",
    "255 bytes vrt": "d" * 251 + ".vrt",
    "253 bytes vrt": "d" * 249 + ".vrt",
    "emoji zarr": "🏔" * 62 + ".zarr",
    "256 bytes": "d" * 252 + ".tif",
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("resume", [False, True])
def test_long_names_work_or_are_refused_before_the_run(name, resume, tmp_path):
    if name.endswith("zarr"):
        pytest.importorskip("zarr")
    raster().save(tmp_path / "dem.tif", progress=False)
    path = tmp_path / LONG[name]
    if name in {"256 bytes", "255 bytes vrt"}:
        with pytest.raises(SinkError, match=r"has 25\d bytes, and \S+ takes 255: give a shorter one"):
            tj.open(tmp_path / "dem.tif").save(path, resume=resume, **SMALL)
        assert names(tmp_path) == ["dem.tif"]
        return
    for _ in range(2):
        tj.open(tmp_path / "dem.tif").save(path, resume=resume, overwrite=True, **SMALL)
    np.testing.assert_array_equal(cells_of(path), raster().read())
    assert len(names(tmp_path)) == 1 + len(places_of(str(path)))
    assert len(os.fsencode(hidden_beside(path, "x").name)) <= 64


def test_a_name_that_is_too_long_for_its_side_file_is_refused_before_the_run(tmp_path):
    crs = CRS.from_user_input("ESRI:54035").to_wkt()
    fits, too_long = (
        profile_of(tmp_path, path=str(tmp_path / f"{'a' * n}.tif"), grid=replace(GRID, crs=crs, metric=Metric()))
        for n in (243, 244)
    )
    open_sink(fits).abort()
    with pytest.raises(SinkError, match=r"its CRS goes into a file beside it: the name .* has 256 bytes"):
        open_sink(too_long)
    assert names(tmp_path) == []


def test_what_a_name_would_do_to_a_terminal_is_spelled_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    raster().save("dem.tif", progress=False)
    odd = "a\x1b]0;title\x07\x1b[31m\u202egnp\r.tif"
    assert main(["run", "slope", "dem.tif", "-o", odd]) == 0
    assert Path(odd).exists()
    assert main(["run", "slope", "dem.tif", "-o", odd]) == 1
    assert main(["run", "slope", f"{odd}.no", "-o", "b.tif"]) == 1
    assert main(["plan", "slope", odd, "--no-time"]) == 0
    assert main(["run", f"{odd}.py:f", "dem.tif", "-o", "b.tif"]) == 1
    assert main(["ru\x1bn"]) == 2
    out, err = capsys.readouterr()
    for text in (out, err):
        assert not {*"\x1b\x07\r\u202e"} & {*text}
        assert r"a\x1b]0;title\x07\x1b[31m\u202egnp\r.tif" in text
    with pytest.raises(SinkError, match=r"\\x1b") as caught:
        raster().save(odd)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größer 🏔 日本\t|\n", "größer 🏔 日本\t|\n"),
        ("\x9b31m", r"\x9b31m"),
        ("\udce9.tif", r"\udce9.tif"),
        ("\u2028", r"\u2028"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES, errno.EIO])
def test_a_folder_that_no_one_can_sync_is_left_to_its_file_system(tmp_path, monkeypatch, number):
    def fails(_):
        raise OSError(number, os.strerror(number))

    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="error") if number == errno.EIO else nullcontext():  # the disk is broken
        sync_path(tmp_path)
    with pytest.raises(OSError, match=os.strerror(number)):
        sync_path(tmp_path / "file")


def test_the_progress_bar_takes_a_name_for_text(monkeypatch, capsys):
    from tilejit.engine.pipeline.report import progress_bar

    monkeypatch.setenv("FORCE_COLOR", "1")
    with suppress(ImportError), progress_bar("[red]a\x07.tif", show=True) as tell:
        tell(1, 2)
    assert "[red]a" in capsys.readouterr().err
