"""Near-duplicates among fields, found by the perceptual hashes of their blue channel."""

import numpy as np
import pandas as pd

# JPEG, a gamma or another size change at most 6 bits; of 66,066 pairs of different fields (real and
# simulated) none differed in fewer than 12. A crop by 2 % changes up to 12 bits, and a mirrored field is another one.
DISTANCE = 6
BLOCK = 64  # hashes that are compared with all others at a time


def near_duplicates(hashes, others=None, distance: int = DISTANCE) -> np.ndarray:
    """Pairs of fields whose hashes differ in at most `distance` bits (0…64).

    Every hash is compared with every other (XOR and a count of bits), so none is missed. Hashes are those of
    `images.perceptual_hash`, 16 hexadecimal digits, as in the column `blue_hash` of the field table. An empty string (a
    field set aside) and the hash of an even plane, which tells nothing, have no duplicates.

    The pairs, int64 (n, 2), sorted, are positions in `hashes` and in `others`; without `others` both in `hashes`, the
    smaller first. Raises ValueError if a hash is neither empty nor 16 hexadecimal digits, naming it, or the distance is
    no number of bits.
    """
    if not 0 <= distance <= 64:
        raise ValueError(f"distance is {distance}; expected 0…64 bits")
    within = others is None
    left, left_at = _parse(hashes)
    right, right_at = (left, left_at) if within else _parse(others)
    found = [np.zeros((0, 2), np.int64)]
    for top in range(0, left.size, BLOCK):
        start = top if within else 0
        differing = np.bitwise_count(left[top : top + BLOCK, None] ^ right[start:])
        i, j = np.nonzero(differing <= distance)
        found.append(np.stack([left_at[top + i], right_at[start + j]], axis=1))
    pairs = np.concatenate(found)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]] if within else pairs
    return pairs[np.lexsort(pairs.T[::-1])]


def fields_repeated(fields: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """The fields of one field table that recur in another.

    A row a field: `image_id`, and `recurs_as`, the ID of the first of `others` that it nearly equals.
    """
    pairs = near_duplicates(fields["blue_hash"], others["blue_hash"])
    pairs = pairs[np.unique(pairs[:, 0], return_index=True)[1]]
    mine, theirs = fields["image_id"].to_numpy(), others["image_id"].to_numpy()
    return pd.DataFrame({"image_id": mine[pairs[:, 0]], "recurs_as": theirs[pairs[:, 1]]})


def _parse(hashes) -> tuple[np.ndarray, np.ndarray]:
    """The hashes that tell something, uint64, and their positions."""
    numbers = np.zeros(len(hashes), np.uint64)
    for position, text in enumerate(hashes):
        if text:
            try:
                (numbers[position],) = np.frombuffer(bytes.fromhex(text), ">u8")
            except ValueError:
                raise ValueError(f"hash {text!r} at position {position}: expected 16 hexadecimal digits") from None
    # half of a hash's bits are set, but only the first, if any, where the plane is even
    at = np.flatnonzero(np.bitwise_count(numbers) > 1)
    return numbers[at], at
