"""Folders of images: what is taken and how, what is left out and why, and what labels they give."""

import errno
import io
import os
import shutil
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minisn.data import read_folder, refuse_ambiguous
from minisn.errors import ConfigError, DataError

ORIENTATION = 0x0112
TURNS = {  # EXIF orientation: what was done to the picture that lies upright
    1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1), 6: lambda p: np.rot90(p), 7: lambda p: np.rot90(p, 2).swapaxes(
        0, 1), 8: lambda p: np.rot90(p, -1),
}  # fmt: skip


def pixels(seed=0, size=16, channels=3):
    """Noise: uint8, [size, size, channels], without the last axis for 1."""
    p = np.random.default_rng(seed).integers(0, 256, (size, size, channels), np.uint8)
    return p.squeeze()


def smooth(width, height):
    """A picture without sharp edges, which any good filter shrinks alike."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    return np.stack([255 * x, 255 * y, 127 + 127 * np.sin(6 * (x + y))], 2).astype(np.uint8)


def put(path, p, **settings):
    """Write a picture of some pixels, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (p if isinstance(p, Image.Image) else Image.fromarray(p)).save(path, **settings)


def read(folder, size=16, **settings):
    return read_folder(folder, size, **settings)


# -- pixels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_the_size_are_taken_to_the_bit_and_in_the_order_of_their_names(
    tmp_path, channels
):
    originals = [pixels(k, channels=channels) for k in range(4)]
    for name, p in zip(["b.png", "a.webp", "C.png", "d.jpg"], originals, strict=True):
        put(
            tmp_path / name,
            p,
            **({"lossless": True} if name.endswith("webp") else {}),
            **({"format": "PNG"} if name.endswith("jpg") else {}),
        )
    data, report = read(tmp_path)
    expected = [originals[k].reshape(16, 16, channels).transpose(2, 0, 1) for k in (2, 1, 0, 3)]
    if channels == 1:  # WebP knows no gray: its picture counts as color, and so do all
        assert (report.channels, report.gray) == (3, 3)
        expected = np.repeat(expected, 3, 1)
    assert data.images.dtype == np.uint8
    assert np.array_equal(data.images, expected)
    assert (data.labels.tolist(), data.classes) == ([-1] * 4, ())
    assert (data.name, data.split) == (str(tmp_path), "train")
    with pytest.raises(ValueError, match="read-only"):
        data.images[0] = 0


def test_a_folder_of_gray_images_has_one_channel(tmp_path):
    originals = [pixels(k, channels=1) for k in range(3)]
    for k, p in enumerate(originals):
        put(tmp_path / f"{k}.png", p)
    data, report = read(tmp_path)
    assert np.array_equal(data.images, np.array(originals)[:, None])
    assert (report.channels, report.gray) == (1, 3)
    assert str(report) == f"{tmp_path}: read 3 of 3 files, gray"


@pytest.mark.parametrize(("width", "height"), [(48, 16), (16, 48), (95, 31)])
def test_the_center_is_cut_out(tmp_path, width, height):
    side, p = min(width, height), np.zeros((height, width, 3), np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    p[top : top + side, left : left + side] = 200
    put(tmp_path / "a.png", p)
    data, report = read(tmp_path)
    assert (data.images == 200).all()
    assert report.sizes == ((width, height),)


@pytest.mark.parametrize(
    ("form", "width", "height"),
    [(form, *size) for form in ("PNG", "JPEG", "WEBP") for size in ((640, 500), (300, 1000))]
    + [("PNG", 9, 13)],
)
def test_other_sizes_are_resampled(tmp_path, form, width, height):
    p, side = smooth(width, height), min(width, height)
    put(tmp_path / "picture", p, format=form, quality=95)
    data, _ = read(tmp_path, 24)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(p[top : top + side, left : left + side])
    expected = np.asarray(
        square.resize((24, 24), Image.Resampling.BOX if side > 24 else Image.Resampling.BICUBIC),
        float,
    )
    error = np.abs(data.images[0].transpose(1, 2, 0) - expected)
    assert error.mean() < 2  # levels of 256: another filter, and what JPEG and WebP lose
    assert error.max() < 16


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(tmp_path, monkeypatch):
    put(tmp_path / "a.jpg", smooth(1600, 1200))
    seen, crop = [], Image.Image.crop
    monkeypatch.setattr(
        Image.Image, "crop", lambda self, box: seen.append(self.size) or crop(self, box)
    )
    read(tmp_path, 32)
    assert seen == [(200, 150)]  # an eighth: the smallest part that is above twice the 32


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_photographs_are_turned_upright(tmp_path, orientation, form):
    upright, exif = smooth(64, 64), Image.Exif()
    exif[ORIENTATION] = orientation
    lying = np.ascontiguousarray(TURNS[orientation](upright))
    put(tmp_path / "a", lying, format=form, exif=exif, quality=95)
    data, _ = read(tmp_path, 64)
    assert np.abs(data.images[0].transpose(1, 2, 0) - upright.astype(float)).mean() < 2


# -- gray, color, transparency ------------------------------------------------------------------


def palette(colors):
    picture = Image.new("P", (16, 16))
    picture.putpalette([level for color in colors for level in color])
    picture.putdata([k % len(colors) for k in range(256)])
    return picture


GREYS, COLOURS = [(0, 0, 0), (90, 90, 90), (255, 255, 255)], [(0, 0, 0), (250, 0, 0)]
RGBA = np.dstack([pixels(), np.full((16, 16), 255, np.uint8)])


@pytest.mark.parametrize(
    ("picture", "form", "expected"),
    [
        (Image.fromarray(pixels(channels=1) > 99), "PNG", 255 * (pixels(channels=1) > 99)),
        (
            Image.merge("LA", [Image.fromarray(pixels(channels=1)), Image.new("L", (16, 16), 255)]),
            "PNG",
            pixels(channels=1),
        ),
        (palette(GREYS), "PNG", None),
        (Image.new("L", (16, 16), 7), "JPEG", np.full((16, 16), 7)),
    ],
    ids=["1", "LA", "P", "L"],
)
def test_what_has_no_color_is_gray(tmp_path, picture, form, expected):
    put(tmp_path / "a", picture, format=form)
    data, report = read(tmp_path)
    expected = np.asarray(picture.convert("L")) if expected is None else expected
    assert np.array_equal(data.images, np.asarray(expected)[None, None])
    assert report.gray == 1


@pytest.mark.parametrize(
    ("picture", "form"),
    [
        (palette(COLOURS), "PNG"),
        (Image.fromarray(RGBA), "PNG"),
        (Image.fromarray(RGBA), "WEBP"),
        (Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).convert("CMYK"), "JPEG"),
        (Image.fromarray(np.full((16, 16, 3), 90, np.uint8)), "PNG"),
    ],
    ids=["P", "RGBA", "RGBA of WebP", "CMYK", "RGB without color"],
)
def test_the_rest_is_color(tmp_path, picture, form):
    put(tmp_path / "a", picture, format=form, **({"lossless": True} if form == "WEBP" else {}))
    data, report = read(tmp_path)
    expected = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    assert data.images.shape == (1, 3, 16, 16) and report.gray == 0
    assert np.abs(data.images[0] - expected.astype(float)).max() <= (form == "JPEG")


def test_transparent_parts_are_white(tmp_path):
    half = RGBA.copy()
    half[:8, :, 3], half[8:, :, 3] = 0, 51  # a fifth
    put(tmp_path / "a.png", half)
    gray = Image.merge("LA", [Image.new("L", (16, 16), 40), Image.new("L", (16, 16), 0)])
    put(tmp_path / "b.png", gray)
    indexed = palette(COLOURS)
    put(tmp_path / "c.png", indexed, transparency=0)
    put(tmp_path / "d.png", Image.new("L", (16, 16), 9), transparency=9)
    put(tmp_path / "e.png", palette(COLOURS), transparency=b"\0\xff")
    images = read(tmp_path)[0].images
    assert (images[0, :, :8] == 255).all()
    expected = 0.2 * half[8:, :, :3].transpose(2, 0, 1) + 0.8 * 255
    assert np.abs(images[0, :, 8:] - expected).max() <= 1
    assert (images[[1, 3]] == 255).all()
    black = (np.asarray(indexed) == 0)[None]
    for image in images[[2, 4]]:
        assert np.array_equal(image, np.where(black, 255, [[[250]], [[0]], [[0]]]))


@pytest.mark.parametrize("first", ["gray", "color"])
def test_gray_images_among_color_ones_are_taken_as_color_and_told(tmp_path, first):
    kinds = {"gray": 1, "color": 3}
    names = [first, *(kind for kind in kinds if kind != first)]
    for k, kind in enumerate(names):
        put(tmp_path / f"{k}.png", pixels(k, channels=kinds[kind]))
        put(tmp_path / f"{k}b.png", pixels(k + 7, channels=kinds[kind]))
    data, report = read(tmp_path)
    assert data.images.shape == (4, 3, 16, 16)
    for k, seed in enumerate((0, 7, 1, 8)):
        p = pixels(seed, channels=kinds[names[k // 2]])
        assert np.array_equal(data.images[k], p.transpose(2, 0, 1) if p.ndim == 3 else [p] * 3)
    assert str(report).endswith("read 4 of 4 files, color (including 2 gray images)")


# -- what is left out ----------------------------------------------------------------------------


def encoded(p, form, **settings):
    raw = io.BytesIO()
    Image.fromarray(p).save(raw, form, **settings)
    return raw.getvalue()


def png_of_16_bits(kind):
    """A whole PNG file, which Pillow reads and does not write: kind 0 is gray, 2 color."""
    row = b"\0" + bytes(2 * (3 if kind else 1) * 16)

    def chunk(name, content):
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">2I5B", 16, 16, 16, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(row * 16))
        + chunk(b"IEND", b"")
    )


MOVING = {"save_all": True, "append_images": [Image.fromarray(pixels(1))]}
LEFT_OUT = {
    "text": (b"width,height\n1,2\n", "not a PNG, JPEG or WebP image"),
    "empty": (b"", "not a PNG, JPEG or WebP image"),
    "gif": (encoded(pixels(channels=1), "GIF"), "not a PNG, JPEG or WebP image"),
    "tiff": (encoded(pixels(), "TIFF"), "not a PNG, JPEG or WebP image"),
    "cut jpeg": (encoded(pixels(size=64), "JPEG")[:-900], "cannot be read: image file is trunc"),
    "cut png": (encoded(pixels(size=64), "PNG")[:-900], "cannot be read: "),
    "cut webp": (encoded(pixels(size=64), "WEBP")[:-900], "cannot be read: "),
    "animated png": (encoded(pixels(), "PNG", **MOVING), "animated; expected a single picture"),
    "animated webp": (encoded(pixels(), "WEBP", **MOVING), "animated; expected a single picture"),
    "deep gray": (png_of_16_bits(0), "16 bits per channel; convert it to 8"),
    "deep color": (png_of_16_bits(2), "16 bits per channel; convert it to 8"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_cannot_be_taken_is_left_out_and_named(tmp_path, name):
    raw, why = LEFT_OUT[name]
    put(tmp_path / "a.png", pixels(1))
    put(tmp_path / "z.png", pixels(2))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "m.png").write_bytes(raw)
    data, report = read(tmp_path)
    assert np.array_equal(data.images.transpose(0, 2, 3, 1), [pixels(1), pixels(2)])
    assert list(report.left_out) == [os.path.join("sub", "m.png")]
    assert report.left_out[os.path.join("sub", "m.png")].startswith(why)
    assert f"read 2 of 3 files, color; skipped: {os.path.join('sub', 'm.png')} ({why}" in str(
        report
    )


def test_a_file_without_permission_is_named(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read what is forbidden")
    put(tmp_path / "a.png", pixels())
    put(tmp_path / "b.png", pixels())
    (tmp_path / "b.png").chmod(0)
    assert read(tmp_path)[1].left_out == {"b.png": "cannot be read: Permission denied"}


def test_one_line_names_three_and_the_command_that_names_all(tmp_path):
    folder = tmp_path / "my photos"
    put(folder / "z.png", pixels())
    for k in range(1200):
        (folder / f"{k:04}.txt").touch()
    text = str(read(folder)[1])
    assert text.startswith(f"{folder}: read 1 of 1,201 files, color; skipped: 0000.txt (not a ")
    assert "0002.txt" in text and "0003.txt" not in text and len(text.splitlines()) == 1
    assert text.endswith(f" and 1,197 more; list all with: minisn data verify '{folder}'")


def test_a_photograph_of_two_pictures_as_cameras_write_it_is_its_first(tmp_path):
    first = Image.fromarray(smooth(16, 16))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    data, report = read(tmp_path)
    assert report.left_out == {}
    assert np.abs(data.images[0].transpose(1, 2, 0) - smooth(16, 16).astype(float)).mean() < 8


def test_files_of_the_system_are_passed_over(tmp_path):
    put(tmp_path / "cats" / "a.png", pixels())
    for name in (
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        ".git/config",
        "__MACOSX/._a.png",
        "cats/.DS_Store",
        "cats/._a.png",
        "cats/.thumbnails/a.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    data, report = read(tmp_path, labeled=True)
    assert len(data.images) == 1 and data.classes == ("cats",)
    assert report.left_out == {}


@pytest.mark.parametrize("target", [".", ".."])
def test_a_link_to_a_folder_above_is_no_label_and_is_named(tmp_path, target):
    folder = tmp_path / "photos"
    put(folder / "cats" / "a.png", pixels())
    (folder / "loop").symlink_to(target)
    data, report = read(folder, labeled=True)
    assert len(data.images) == 1 and data.classes == ("cats",)
    assert report.left_out == {"loop": "a link to a folder; put a copy in its place"}
    assert "read 1 of 2 files, color; skipped: loop (a link" in str(report)


def test_a_linked_folder_is_a_label_and_inside_a_label_it_is_named(tmp_path):
    folder, inside = tmp_path / "photos", os.path.join("cats", "more")
    put(folder / "cats" / "a.png", pixels())
    put(tmp_path / "away" / "b.png", pixels(1))
    (folder / "cats" / "more").symlink_to(tmp_path / "away")
    (folder / "cats" / ".hidden").symlink_to(tmp_path / "away")
    (folder / "dogs").symlink_to(tmp_path / "away")
    data, report = read(folder, labeled=True)
    assert data.classes == ("cats", "dogs") and data.labels.tolist() == [0, 1]
    assert report.left_out == {inside: "a link to a folder; put a copy in its place"}


def test_a_link_to_nothing_and_a_pipe_are_named(tmp_path):
    put(tmp_path / "cats" / "a.png", pixels())
    (tmp_path / "lost.png").symlink_to("nowhere.png")
    (tmp_path / "cats" / "itself.png").symlink_to("itself.png")
    os.mkfifo(tmp_path / "cats" / "pipe.png")
    assert read(tmp_path)[1].left_out == {
        "lost.png": "cannot be read: No such file or directory",
        os.path.join("cats", "itself.png"): "cannot be read: Too many levels of symbolic links",
        os.path.join("cats", "pipe.png"): "a pipe, not a file",
    }


@pytest.mark.parametrize("shut", ["dogs", os.path.join("cats", "deep")])
def test_a_folder_inside_that_cannot_be_read_is_named(tmp_path, monkeypatch, shut):
    put(tmp_path / "cats" / "a.png", pixels())
    put(tmp_path / shut / "b.png", pixels(1))
    look, scan = os.listdir, os.scandir

    def denied(real, folder):
        if os.fspath(folder) == str(tmp_path / shut):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(folder))
        return real(folder)

    monkeypatch.setattr(os, "listdir", lambda folder=".": denied(look, folder))
    monkeypatch.setattr(os, "scandir", lambda folder=".": denied(scan, folder))
    data, report = read(tmp_path)
    assert len(data.images) == 1
    assert list(report.left_out) == [shut]
    assert report.left_out[shut].startswith("cannot be read: ")


def test_a_label_without_images_is_told_with_the_reason(tmp_path):
    put(tmp_path / "cats" / "a.png", pixels())
    (tmp_path / "dogs").mkdir()
    (tmp_path / "dogs" / "b.png").touch()
    with pytest.raises(DataError, match=r"dogs has no readable.*none; skipped: dogs.b\.png \(not"):
        read(tmp_path, labeled=True)


def test_pillows_warnings_are_no_lines_of_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # 256 pixels: a warning, above 400 an error
    put(tmp_path / "a.png", pixels())
    put(tmp_path / "b.png", pixels(size=32))
    _, report = read(tmp_path)  # a warning is an error here
    assert report.sizes == ((16, 16),)
    assert "decompression bomb" in report.left_out["b.png"]


WHOLE = {
    form: encoded(smooth(40, 30), form, **settings)
    for form, settings in {
        "PNG": {},
        "JPEG": {"quality": 90},
        "WEBP": {"quality": 90},
    }.items()
}


@given(form=st.sampled_from(list(WHOLE)), data=st.data())
def test_a_damaged_file_is_an_image_or_left_out(tmp_path_factory, form, data):
    raw = bytearray(WHOLE[form])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(len(raw) // 3, len(raw)))]
    folder = tmp_path_factory.mktemp("damaged")
    put(folder / "a.png", pixels())
    (folder / "b").write_bytes(raw)
    images, report = read(folder)
    assert len(images.images) + len(report.left_out) == 2
    shutil.rmtree(folder)


# -- labels --------------------------------------------------------------------------------------


@pytest.fixture
def pets(tmp_path):
    folder = tmp_path / "pets"
    for k, name in enumerate(["dogs/b.png", "cats/z.png", "dogs/old/a.png", "Birds/q.png"]):
        put(folder / name, pixels(k))
    return folder


def test_subfolders_are_labels(pets):
    data, report = read(pets, labeled=True)
    assert data.classes == ("Birds", "cats", "dogs")
    assert data.labels.dtype == np.int64 and data.labels.tolist() == [0, 1, 2, 2]
    found = [
        np.flatnonzero((data.images == pixels(k).transpose(2, 0, 1)).all((1, 2, 3)))[0]
        for k in (3, 1, 0, 2)
    ]
    assert found == [0, 1, 2, 3]
    assert report.labels == {"Birds": 1, "cats": 1, "dogs": 2} and report.label_faults == []


def spoil(pets, fault):
    if fault == "empty":
        (pets / "fish").mkdir()
        return "the label folder fish has no readable images"
    if fault == "unreadable":
        (pets / "cats" / "z.png").write_bytes(b"no image")
        return "the label folder cats has no readable images"
    if fault == "loose":
        put(pets / "x.png", pixels(9))
        return "images outside the label folders: 1; move"
    shutil.move(pets, pets.with_name("all"))
    for path in pets.with_name("all").rglob("*.png"):
        put(pets / f"{path.parent.name}-{path.name}", Image.open(path))
    return "there are no label folders; put the images into subfolders"


@pytest.mark.parametrize("fault", ["empty", "unreadable", "loose", "flat"])
def test_what_a_conditional_model_lacks_is_told_and_other_models_do_without(pets, fault):
    words = spoil(pets, fault)
    with pytest.raises(DataError, match=words) as caught:
        read(pets, labeled=True)
    assert str(caught.value).startswith(f"{pets}: ")
    data, report = read(pets)
    assert len(data.images) == {"empty": 4, "unreadable": 3, "loose": 5, "flat": 4}[fault]
    assert [words in f for f in report.label_faults] == [True]
    assert (
        data.labels.tolist()
        == {
            "empty": [0, 1, 2, 2],
            "unreadable": [0, 2, 2],
            "loose": [-1, 0, 1, 2, 2],
            "flat": [-1] * 4,
        }[fault]
    )


# -- no folder of images ---------------------------------------------------------------------------


def test_a_folder_without_images_is_told(tmp_path):
    words = "no readable image; expected PNG, JPEG or WebP files"
    with pytest.raises(DataError, match=words) as caught:
        read(tmp_path)
    assert str(caught.value).endswith("named by their labels")
    (tmp_path / "notes.txt").write_text("none here")
    with pytest.raises(DataError, match=rf"{words}.*skipped: notes\.txt \(not a PNG"):
        read(tmp_path)


def test_what_is_no_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    for name in ("file", "none"):
        with pytest.raises(DataError, match=f"{name}: cannot be read: N"):
            read(tmp_path / name)


def test_a_name_that_is_a_data_set_and_a_folder_of_images_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refuse_ambiguous("cifar10")
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "cifar-10-binary.tar.gz").write_bytes(b"the files of the data set")
    refuse_ambiguous("cifar10")
    put(tmp_path / "cifar10" / "cats" / "a.png", pixels())
    with pytest.raises(ConfigError, match=r"write \./cifar10 for the folder, or run from another"):
        refuse_ambiguous("cifar10")
    refuse_ambiguous("./cifar10")
    refuse_ambiguous("photos")


# -- memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_reading_takes_the_memory_of_the_result(tmp_path, channels):
    for k in range(300):
        put(tmp_path / f"{k}.png", pixels(k, 8, channels))
    tracemalloc.start()
    try:
        data, _ = read(tmp_path, 64)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert data.images.nbytes == 300 * channels * 64 * 64
    # besides: the files' paths, one decoded image, and room for one channel before color is met
    assert peak < data.images.nbytes * (1 if channels == 1 else 4 / 3) + 600_000
