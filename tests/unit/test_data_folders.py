"""Sets of image files in class folders."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitspike.data.images.folders import read_folders
from bitspike.errors import ConstraintError, DataError


def write(path: Path, pixels: np.ndarray | list, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    (image if mode is None else image.convert(mode)).save(path)
    return path


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Lay out two classes of 2x3 gray images, with something hidden next to them."""
    write(tmp_path / "train" / "dog" / "b.png", [[4, 4, 4], [4, 4, 4]])
    write(tmp_path / "train" / "dog" / "a.png", [[3, 3, 3], [3, 3, 3]])
    write(tmp_path / "train" / "cat" / "z.png", [[1, 1, 1], [1, 1, 2]])
    write(tmp_path / "test" / "dog" / "q.png", [[9, 9, 9], [9, 9, 9]])
    (tmp_path / "train" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "train" / "dog" / ".hidden").write_bytes(b"x")
    return tmp_path


def test_classes_are_folders_in_alphabetical_order_and_files_too(pets):
    images, labels, classes = read_folders(pets, "train")
    assert classes == ("cat", "dog")
    assert labels.tolist() == [0, 1, 1]
    assert images.shape == (3, 2, 3, 1)
    assert images[:, 0, 0, 0].tolist() == [1, 3, 4]
    assert images[0, :, :, 0].tolist() == [[1, 1, 1], [1, 1, 2]]


def test_the_test_split_has_the_classes_of_the_training_split(pets):
    images, labels, classes = read_folders(pets, "test")
    assert (len(images), labels.tolist(), classes) == (1, [1], ("cat", "dog"))


def test_color_images_have_three_channels_whatever_their_mode(tmp_path):
    color = np.arange(48).reshape(4, 4, 3) * 5
    for mode in ("RGB", "RGBA", "P"):
        write(tmp_path / "train" / "a" / f"{mode}.png", color, mode)
    images, *_ = read_folders(tmp_path, "train")
    assert images.shape == (3, 4, 4, 3)
    assert images[1].numpy().tolist() == color.tolist()  # RGB, after P
    assert images[2].numpy().tolist() == color.tolist()


def test_many_files_land_in_their_places(tmp_path):
    for i in range(600):  # more than two tasks of the pool
        write(tmp_path / "train" / "a" / f"{i:03d}.pgm", [[i % 256]])
    images, *_ = read_folders(tmp_path, "train")
    assert images.flatten().tolist() == [i % 256 for i in range(600)]


def test_a_size_crops_the_middle_and_resizes(tmp_path):
    wide = np.zeros((4, 8), dtype=np.uint8)
    wide[:, 2:6] = 200
    write(tmp_path / "train" / "a" / "wide.png", wide)
    write(tmp_path / "train" / "a" / "tall.png", wide.T)
    images, *_ = read_folders(tmp_path, "train", size=2)
    assert images.shape == (2, 2, 2, 1)
    assert (images == 200).all()
    assert read_folders(tmp_path, "train", size=(4, 8))[0].shape == (2, 4, 8, 1)


def test_channels_turn_gray_to_color_and_back(pets):
    assert read_folders(pets, "train", channels=3)[0][1].unique().tolist() == [3]
    write(pets / "train" / "cat" / "a.png", np.full((2, 3, 3), 50))
    assert read_folders(pets, "train", channels=1)[0][0].unique().tolist() == [50]


def test_images_that_differ_are_reported_together(pets):
    write(pets / "train" / "dog" / "c.png", np.zeros((5, 3)))
    write(pets / "train" / "dog" / "d.png", np.zeros((2, 3, 3)))
    Image.fromarray(np.zeros((2, 3), dtype=np.uint16)).save(pets / "train" / "dog" / "e.png")
    with pytest.raises(DataError) as caught:
        read_folders(pets, "train")
    message = str(caught.value)
    assert message.startswith("3 of 6 images in")
    for part in ("not 2x3 gray", "dog/c.png: 5x3", "dog/d.png: color", "dog/e.png: more than 8 bits", "size=32"):
        assert part in message


def test_the_test_images_are_compared_with_the_training_images(pets):
    write(pets / "test" / "dog" / "q.png", np.zeros((8, 8)))
    with pytest.raises(DataError, match=r"1 of 1 images (.|\n)*dog/q.png: 8x8"):
        read_folders(pets, "test")


@pytest.mark.parametrize("name", ["a.png", "z.png"], ids=["the first", "another"])
def test_a_damaged_image_is_named(pets, name):
    whole = (pets / "train" / "dog" / "b.png").read_bytes()
    for broken in (b"", b"no image", whole[:40], whole[:-26]):
        (pets / "train" / "cat" / name).write_bytes(broken)
        with pytest.raises(DataError, match=rf"cat.{name} is damaged"):
            read_folders(pets, "train")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: (root / "train").rename(root / "training"), "name the folder that holds 'train' and 'test'"),
        (lambda root: (root / "test" / "dog").rename(root / "test" / "cow"), "has classes that .* has not: cow"),
        (lambda root: (root / "train" / "emu").mkdir(), "emu holds no images"),
        (lambda root: (root / "train" / "dog" / "notes.txt").write_text("x"), "notes.txt is not an image"),
    ],
    ids=["no train", "strange class", "empty class", "other file"],
)
def test_a_wrong_layout_is_named(pets, break_it, message):
    break_it(pets)
    with pytest.raises(DataError, match=message):
        read_folders(pets, "test")


def test_a_split_without_classes_is_named(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="holds no class folders"):
        read_folders(tmp_path, "train")


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": (4, -1)}, {"channels": 2}])
def test_wrong_arguments_fail(pets, wrong):
    with pytest.raises(ConstraintError):
        read_folders(pets, "train", **wrong)


def chunk(kind: bytes, held: bytes) -> bytes:
    return struct.pack(">I", len(held)) + kind + held + struct.pack(">I", zlib.crc32(kind + held))


def png_of_16_bits(path, color_type, channels):
    """Write a PNG of 16 bits a channel by hand: Pillow itself writes gray ones only."""
    rows = b"".join(b"\0" + bytes([1, 200] * (3 * channels)) for _ in range(2))
    head = struct.pack(">IIBBBBB", 3, 2, 16, color_type, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("kind", ["gray", "gray, alpha", "color", "color, alpha", "gray tiff", "whole numbers", "real"])
def test_more_than_8_bits_are_refused_by_their_depth_and_the_way_out_works(tmp_path, kind):
    train = tmp_path / "train" / "a"
    train.mkdir(parents=True)
    png = {"gray": (0, 1), "gray, alpha": (4, 2), "color": (2, 3), "color, alpha": (6, 4)}
    array = np.array([[0, 257, 65535], [128, 129, 300]])
    kinds = {"gray tiff": np.uint16, "whole numbers": np.int32, "real": np.float32}
    if kind in png:
        png_of_16_bits(train / "0.png", *png[kind])
    else:
        Image.fromarray(array.astype(kinds[kind])).save(train / "0.tif")
    with pytest.raises(DataError, match=r"1 of 1 images in .* have more than 8 bits a channel") as caught:
        read_folders(tmp_path, "train")
    assert "not 2x3" not in str(caught.value)
    (way,) = re.findall(r"Image\.fromarray\(.*\)\.save\(path\)", str(caught.value))
    if kind == "gray tiff":
        path = train / "0.tif"
        with Image.open(path) as image:
            image.load()
        exec(way, {"Image": Image, "np": np, "image": image, "path": path})  # noqa: S102  (the way out, followed)
        assert read_folders(tmp_path, "train")[0].flatten().tolist() == [0, 1, 255, 0, 1, 1]


def test_a_bitmap_of_5_and_6_bits_a_channel_has_no_more_than_8(tmp_path):
    train = tmp_path / "train" / "a"
    train.mkdir(parents=True)
    pixels = struct.pack("<4H", 0xFFFF, 0xF800, 0x07E0, 0x001F)
    head = struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 16, 3, len(pixels), 2835, 2835, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    start = 14 + len(head) + len(masks)
    (train / "0.bmp").write_bytes(
        b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + head + masks + pixels
    )
    image = read_folders(tmp_path, "train")[0][0]
    assert image[1].tolist() == [[255, 255, 255], [255, 0, 0]]
    assert image[0].tolist() == [[0, 255, 0], [0, 0, 255]]


def test_every_mode_of_8_bits_is_read_as_its_colors(tmp_path):
    color = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
    plain = Image.fromarray(color)
    clear = plain.copy()
    clear.putalpha(Image.fromarray(np.array([[0, 255], [128, 255]], dtype=np.uint8)))
    made = {
        "rgb.png": plain, "alpha.png": clear, "palette.png": plain.quantize(4), "palette.gif": plain.quantize(4),
        "cmyk.tif": plain.convert("CMYK"),
    }  # fmt: skip
    train = tmp_path / "train" / "a"
    train.mkdir(parents=True)
    for name, image in made.items():
        image.save(train / name)
    for image, name in zip(read_folders(tmp_path, "train")[0], sorted(made), strict=True):
        assert image.tolist() == color.tolist(), name


def test_one_bit_is_black_and_white(tmp_path):
    train = tmp_path / "train" / "a"
    train.mkdir(parents=True)
    Image.fromarray(np.array([[True, False]])).save(train / "0.png")
    assert read_folders(tmp_path, "train")[0].flatten().tolist() == [255, 0]


@pytest.mark.parametrize("name", ["0.gif", "0.png", "0.tif", "0.webp"])
def test_an_animation_is_refused_by_its_frames_and_the_way_out_works(tmp_path, name):
    train = tmp_path / "train" / "a"
    train.mkdir(parents=True)
    frames = [Image.fromarray(np.full((4, 4, 3), value, dtype=np.uint8)) for value in (0, 255)]
    frames[0].save(train / name, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"1 of 1 images in .* are animations(.|\n)*of 2 frames") as caught:
        read_folders(tmp_path, "train")
    assert "image.seek(0); image.save(path)" in str(caught.value)
    with Image.open(train / name) as image:
        image.seek(0)
        image.save(train / "still.png")
    (train / name).unlink()
    assert read_folders(tmp_path, "train")[0].max() < 20  # the first frame; a WebP is not exact


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_photo_is_upright_as_its_exif_orientation_says(tmp_path, turn):
    seen = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    # How the camera stored what is seen, by the table of the EXIF standard (CIPA DC-008, orientation).
    stored = {
        1: seen, 2: seen[:, ::-1], 3: seen[::-1, ::-1], 4: seen[::-1], 5: seen.T, 6: np.rot90(seen),
        7: np.rot90(seen, 2).T, 8: np.rot90(seen, -1),
    }[turn]  # fmt: skip
    train = tmp_path / "train" / "a"
    train.mkdir(parents=True)
    image = Image.fromarray(np.ascontiguousarray(stored))
    exif = image.getexif()
    exif[0x0112] = turn
    image.save(train / "0.png", exif=exif)
    Image.fromarray(seen).save(train / "1.png")
    images, *_ = read_folders(tmp_path, "train")
    assert images[0, :, :, 0].tolist() == images[1, :, :, 0].tolist() == seen.tolist()
