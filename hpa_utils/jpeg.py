"""JPEGs damaged in their middle: decoders pass over them, but their codes do not fill the picture."""

import functools
import re

import numpy as np

WINDOW = 16  # bits that are looked at, as many as a code may have
LAST = 1000  # added to the coefficients of a step that ends its block, which has 64 at most
LONGEST = 64 * 32 // 8  # bytes that a block may have


def check_jpeg(data: bytes) -> None:
    """Raise ValueError if the codes of a JPEG do not end where its pixels do.

    A decoder fills in what a damaged file lacks, and leaves what is left over, mostly without a word. Here the lengths
    of all codes are followed, without decoding: the last block must end in the last byte, whose other bits are equal.
    Progressive and arithmetic files are not followed.
    """
    try:
        whole = _is_filled(data)
    except (IndexError, KeyError, ValueError):
        whole = False
    if not whole:
        raise ValueError("damaged inside: its JPEG codes do not fill the picture")


def _is_filled(data: bytes) -> bool:
    frame, tables, interval, start, marker = b"", {}, 0, 2, 0
    while marker != 0xDA:  # start of scan
        while data[start + 1] == 0xFF:  # fill bytes
            start += 1
        marker, content = data[start + 1], data[start + 4 : start + 2 + int.from_bytes(data[start + 2 : start + 4])]
        if marker in (0xC0, 0xC1):  # baseline and extended sequential
            frame = content
        elif marker == 0xC4:
            tables |= _read_tables(content)
        elif marker == 0xDD:
            interval = int.from_bytes(content)
        start += 4 + len(content)
    if not frame or content[0] != frame[5]:
        return True
    sampling = [(factors >> 4, factors & 15) for factors in frame[7::3]] if frame[5] > 1 else [(1, 1)]
    blocks = []  # of a unit, which has as many of each component as its sampling says
    for number, (across, down) in zip(content[2 : 2 + 2 * frame[5] : 2], sampling, strict=True):
        blocks += [(tables[number >> 4], tables[16 + number % 16])] * (across * down)
    across, down = (8 * max(factors) for factors in zip(*sampling, strict=True))
    n_units = -(-int.from_bytes(frame[1:3]) // down) * -(-int.from_bytes(frame[3:5]) // across)
    codes = re.split(rb"\xff+[^\x00\xd0-\xd7\xff]", data[start:], maxsplit=1)[0]
    for piece in re.split(rb"\xff[\xd0-\xd7]", codes):  # at restart markers
        expected = min(interval or n_units, n_units)
        if not _end_together(piece.replace(b"\xff\x00", b"\xff"), blocks, expected):
            return False
        n_units -= expected
    return n_units == 0


@functools.lru_cache(maxsize=16)  # most files have the same
def _read_tables(content: bytes) -> dict[int, list]:
    """Number of a code table → its step for each value of the next 16 bits: bits to go on + 64 × coefficients passed.

    A step is 0 where no code has these bits.
    """
    tables = {}
    while content:
        bits, passed, first, place = np.zeros(1 << WINDOW, int), np.zeros(1 << WINDOW, int), 0, 17
        for length, count in enumerate(content[1:17], start=1):
            for symbol in content[place : place + count]:  # coefficients of 0 × 16 + bits of the next one
                end = first + (1 << WINDOW - length)
                bits[first:end] = length + symbol % 16
                passed[first:end] = symbol // 16 + 1 if symbol % 16 or symbol == 0xF0 else LAST
                first = end
            place += count
        tables[content[0]] = (bits + 64 * passed).tolist()
        content = content[place:]
    return tables


def _end_together(codes: bytes, blocks: list, n_units: int) -> bool:
    """Whether the blocks of so many units end in the last byte of the codes."""
    spread = np.frombuffer(codes + bytes(LONGEST + 2), np.uint8).astype(np.uint32)
    spread = spread[:-2] << 16 | spread[1:-1] << 8 | spread[2:]
    windows = memoryview((spread[:, None] >> np.arange(8, 0, -1)).astype(np.uint16).ravel())
    position, n_bits = 0, 8 * len(codes)
    for _ in range(n_units):
        for one, step in blocks:
            position += one[windows[position]] % 64  # the first coefficient
            coefficient = 1
            while coefficient < 64:
                taken = step[windows[position]]
                coefficient += taken >> 6
                position += taken % 64
                if not taken or 64 < coefficient <= LAST:
                    return False
            if position > n_bits:
                return False
    left = n_bits - position
    return left < 8 and (not left or codes[-1] % (1 << left) in (0, (1 << left) - 1))
