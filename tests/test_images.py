import cv2
import numpy as np
import pytest
from conftest import write_field

from hpa_utils import images
from hpa_utils.dataset import CHANNELS
from hpa_utils.images import near_duplicates, perceptual_hash


@pytest.fixture
def field():
    return np.random.default_rng(0).integers(0, 256, (6, 9, 4), np.uint8)


def test_channels_come_in_the_order_red_green_blue_yellow(tmp_path, field):
    write_field(tmp_path, "a", field)
    read = images.read_field(tmp_path, "a")
    assert read.dtype == np.uint8 and (read == field).all()
    assert images.field_size(tmp_path, "a") == (6, 9)


def test_sixteen_bit_is_brought_to_eight(tmp_path, field):
    write_field(tmp_path, "a", field.astype(np.uint16) * 257)
    assert (images.read_field(tmp_path, "a") == field).all()


def test_twelve_bit_in_files_of_sixteen_is_brought_to_eight(tmp_path, field):
    twelve = ((field.astype(np.uint32) * 4095 + 127) // 255).astype(np.uint16)
    write_field(tmp_path, "a", twelve)
    names = {channel: f"a_{channel}.png" for channel in CHANNELS}
    assert (images.read_field(tmp_path, "a", names, bit_depth=12) == field).all()
    assert images.read_field(tmp_path, "a", names, bit_depth=16).max() == 16
    with pytest.raises(ValueError, match=r"a_\w+.png holds values up to [34],\d+, beyond the 8 bit"):
        images.read_field(tmp_path, "a", names, bit_depth=8)


def test_eight_bit_in_files_of_sixteen_stays_as_it_is(tmp_path, field):
    write_field(tmp_path, "a", field.astype(np.uint16))
    assert (images.read_field(tmp_path, "a") == field).all()


def test_colour_files_are_reduced_to_the_channel_they_are_named_for(tmp_path, field):
    for index, channel in enumerate(("red", "green", "blue")):
        colour = np.zeros((6, 9, 3), np.uint8)
        colour[..., 2 - index] = field[..., index]  # OpenCV writes blue, green, red
        cv2.imwrite(str(tmp_path / f"a_{channel}.png"), colour)
    yellow = np.zeros((6, 9, 3), np.uint8)
    yellow[..., 1:] = field[..., 3:]
    cv2.imwrite(str(tmp_path / "a_yellow.tif"), yellow)
    assert (images.read_field(tmp_path, "a") == field).all()


def test_missing_channels_are_named(tmp_path, field):
    write_field(tmp_path, "a", field)
    (tmp_path / "a_blue.png").unlink()
    with pytest.raises(FileNotFoundError, match="field a: no blue channel"):
        images.read_field(tmp_path, "a")


def test_channels_of_different_sizes_are_named(tmp_path, field):
    write_field(tmp_path, "a", field)
    cv2.imwrite(str(tmp_path / "a_yellow.png"), field[:5, :, 3])
    with pytest.raises(ValueError, match="field a: channels differ in size.*yellow 5×9"):
        images.read_field(tmp_path, "a")


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_a_file_that_cannot_be_decoded_is_named(tmp_path, field, content):
    write_field(tmp_path, "a", field)
    path = tmp_path / "a_green.png"
    path.write_bytes(path.read_bytes()[:40] if content is None else content)
    with pytest.raises(ValueError, match="a_green.png cannot be decoded"):
        images.read_field(tmp_path, "a")


def test_percentiles_are_those_of_each_channel():
    field = np.zeros((10, 100, 4), np.uint8)
    field[..., 0] = np.arange(100)
    field[..., 3] = 7
    table = images.field_percentiles(field)
    assert table.shape == (4, 4) and table[3].tolist() == [7, 7, 7, 7] and table[1].sum() == 0
    assert table[0].tolist() == [0, 49, 98, 99]


def test_hash_of_a_brighter_copy_is_near_and_of_another_image_is_far():
    rng = np.random.default_rng(0)
    one, other = (cv2.GaussianBlur(rng.integers(0, 200, (256, 256)).astype(np.uint8), (0, 0), 12) for _ in range(2))

    def distance(a, b):
        return (int(perceptual_hash(a), 16) ^ int(perceptual_hash(b), 16)).bit_count()

    assert distance(one, cv2.add(one, 20)) <= 4
    assert distance(one, other) > 16


def test_a_blank_image_has_a_hash():
    assert len(perceptual_hash(np.zeros((64, 64), np.uint8))) == 16


def test_hashes_that_differ_in_few_bits_are_paired():
    hashes = ["00000000ffffffff", "00000000fffffff0", "ffffffff00000000"]  # 4 bits apart, 64 and 60 bits apart
    assert near_duplicates(hashes, distance=4).tolist() == [[0, 1]]
    assert near_duplicates(hashes, distance=3).tolist() == []
    assert near_duplicates(hashes, ["ffffffff00000001", hashes[0]], distance=4).tolist() == [[0, 1], [1, 1], [2, 0]]


def test_fields_set_aside_and_even_planes_have_no_duplicates():
    even = perceptual_hash(np.full((64, 64), 7, np.uint8)), perceptual_hash(np.zeros((64, 64), np.uint8))
    assert near_duplicates(["", "", *even, *even], distance=64).tolist() == []
    assert near_duplicates([]).shape == near_duplicates([], ["00000000ffffffff"]).shape == (0, 2)


def test_the_search_in_tiles_finds_what_a_plain_comparison_finds(monkeypatch):
    monkeypatch.setattr(images, "BLOCK", 8)
    numbers = np.random.default_rng(0).integers(0, 2**63, 50)
    numbers[[7, 21, 49]] = numbers[3] ^ np.array([1, 2, 4])
    hashes = [f"{number:016x}" for number in numbers]
    plain = [(i, j) for j in range(50) for i in range(j) if int(numbers[i] ^ numbers[j]).bit_count() <= 20]
    assert {(3, 7), (3, 21), (3, 49), (7, 21)} < set(plain)
    assert [tuple(pair) for pair in near_duplicates(hashes, distance=20).tolist()] == sorted(plain)


def test_a_compressed_smaller_and_brighter_copy_is_found_and_another_picture_is_not():
    random = np.random.default_rng(1)
    field, other = (cv2.resize(random.integers(0, 160, (9, 9), np.uint8), (256, 256)) for _ in range(2))
    small = cv2.resize(cv2.convertScaleAbs(field, alpha=1.4, beta=5), (200, 200), interpolation=cv2.INTER_AREA)
    copy = cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], cv2.IMREAD_UNCHANGED)
    assert near_duplicates([perceptual_hash(plane) for plane in (field, other, copy)]).tolist() == [[0, 2]]


@pytest.mark.parametrize("text", ["00ff", "00000000ffffffff00", "0000000000000xyz"])
def test_what_is_no_hash_is_named(text):
    with pytest.raises(ValueError, match=f"hash '{text}' at position 1: expected 16 hexadecimal digits"):
        near_duplicates(["00000000ffffffff", text])


def test_a_distance_beyond_the_bits_is_refused():
    with pytest.raises(ValueError, match="distance is 65; expected 0…64 bits"):
        near_duplicates([], distance=65)
