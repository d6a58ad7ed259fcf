import cv2
import numpy as np
import pytest

from hpa_utils import duplicates
from hpa_utils.duplicates import near_duplicates
from hpa_utils.images import perceptual_hash


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
    monkeypatch.setattr(duplicates, "BLOCK", 8)
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
