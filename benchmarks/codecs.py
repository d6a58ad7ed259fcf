"""Codecs in figures: `python benchmarks/codecs.py [folder of real fields]`.

Bytes, encoding and decoding time on one core of the crops of four real fields (of simulated ones where the folder is
missing), 128 px, masked as the library cuts them; then decoders of a field's grey PNGs, as ratios to OpenCV. Codecs
beyond OpenCV, Pillow and pyarrow need imagecodecs and pyspng, which are measured where they are installed and are no
requirement. Times are CPU time, the smallest of five turns in which all codecs take part.
"""

import importlib.util
import io
import platform
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import PIL
import pyarrow as pa
from loading import REAL, field_crops
from PIL import Image

TURNS = 5


def opencv(extension, *options):
    """Encoder and decoder of OpenCV, which thinks that red, green, blue, yellow are blue, green, red, alpha."""

    def encode(crop):
        return cv2.imencode(extension, crop, options)[1].tobytes()

    def decode(data):
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)

    return encode, decode


def pillow(name, **options):
    def encode(crop):
        stream = io.BytesIO()
        Image.fromarray(crop, "RGBA").save(stream, name, **options)
        return stream.getvalue()

    return encode, lambda data: np.asarray(Image.open(io.BytesIO(data)))


def arrow(name, level=None):
    codec = pa.Codec(name, level)

    def decode_into(shape):
        size = int(np.prod(shape))
        return lambda data: np.frombuffer(codec.decompress(data, size), np.uint8).reshape(shape)

    return (lambda crop: codec.compress(crop.tobytes(), asbytes=True)), decode_into


def planes(codec):
    """The same codec on the four planes one below the other: alike pixels come closer together."""
    encode, decode_into = codec

    def decode_planes(shape):
        decode = decode_into((4, *shape[:2]))
        return lambda data: np.moveaxis(decode(data), 0, -1)

    return (lambda crop: encode(np.ascontiguousarray(np.moveaxis(crop, -1, 0)))), decode_planes


def crop_codecs(shape):
    """Name → (encode, decode) of crops of this shape."""
    found = {"PNG, cv2's defaults (the library's)": opencv(".png")}
    strategies = {
        "default": cv2.IMWRITE_PNG_STRATEGY_DEFAULT,
        "filtered": cv2.IMWRITE_PNG_STRATEGY_FILTERED,
        "Huffman": cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY,
        "RLE": cv2.IMWRITE_PNG_STRATEGY_RLE,
    }
    for level in (1, 3, 6, 9):
        for name, strategy in strategies.items():
            options = (cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_STRATEGY, strategy)
            found[f"PNG, cv2, level {level}, {name}"] = opencv(".png", *options)
    found["WebP lossless, cv2"] = opencv(".webp", cv2.IMWRITE_WEBP_QUALITY, 101)
    for method in (0, 4):
        options = {"lossless": True, "exact": True, "quality": 50, "method": method}
        found[f"WebP lossless, Pillow, exact, method {method}"] = pillow("WEBP", **options)
    stored = {"lz4": arrow("lz4"), "zstd 3": arrow("zstd", 3), "zstd 12": arrow("zstd", 12)}
    for name, codec in stored.items():
        for order, (encode, decode_into) in (("pixels", codec), ("planes", planes(codec))):
            found[f"raw {order}, {name}, pyarrow"] = encode, decode_into(shape)
    if importlib.util.find_spec("imagecodecs"):
        import imagecodecs as ic

        found["PNG, imagecodecs"] = ic.png_encode, ic.png_decode
        found["WebP lossless, imagecodecs"] = (lambda crop: ic.webp_encode(crop, lossless=True)), ic.webp_decode
        found["QOI, imagecodecs"] = ic.qoi_encode, ic.qoi_decode
        for effort in (1, 3, 7):
            encode = lambda crop, e=effort: ic.jpegxl_encode(crop, lossless=True, effort=e)  # noqa: E731
            found[f"JPEG XL lossless, imagecodecs, effort {effort}"] = encode, ic.jpegxl_decode
        found["JPEG-LS by planes, imagecodecs"] = by_planes(ic.jpegls_encode, ic.jpegls_decode)
    return found


def by_planes(encode, decode):
    """A codec of grey images, the four files in a list."""
    return (
        lambda crop: [encode(np.ascontiguousarray(crop[..., k])) for k in range(4)],
        lambda files: np.stack([decode(file) for file in files], axis=-1),
    )


def field_decoders():
    """Name → decoder of a grey PNG."""
    found = {
        "cv2": lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED),
        "Pillow": lambda data: np.asarray(Image.open(io.BytesIO(data))),
    }
    if importlib.util.find_spec("imagecodecs"):
        import imagecodecs as ic

        found |= {"imagecodecs, png_decode": ic.png_decode, "imagecodecs, spng_decode": ic.spng_decode}
    if importlib.util.find_spec("pyspng"):
        import pyspng

        found["pyspng"] = pyspng.load
    return found


def shortest(calls):
    """Name → smallest CPU seconds of each of the calls, taken in turns."""
    taken = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            start = time.process_time()
            call()
            taken[name].append(time.process_time() - start)
    return {name: min(times) for name, times in taken.items()}


def n_bytes(data):
    return sum(map(len, data)) if isinstance(data, list) else len(data)


def crops_table(crops):
    codecs = crop_codecs(crops[0].shape)
    data = {name: [encode(crop) for crop in crops] for name, (encode, _) in codecs.items()}
    exact = {
        name: all(np.array_equal(codecs[name][1](file), crop) for file, crop in zip(files, crops))
        for name, files in data.items()
    }
    encoding = shortest({name: lambda e=encode: [e(crop) for crop in crops] for name, (encode, _) in codecs.items()})
    decoding = shortest(
        {name: lambda n=name, d=decode: [d(file) for file in data[n]] for name, (_, decode) in codecs.items()}
    )
    print(f"{len(crops)} crops of {crops[0].shape[0]} px, {crops[0].nbytes} bytes raw; means, one core")
    print(f"{'':46}{'bytes':>7}{'encode µs':>11}{'decode µs':>11}  exact")
    for name, files in data.items():
        size, times = np.mean([n_bytes(file) for file in files]), (encoding[name], decoding[name])
        print(f"{name:46}{size:7.0f}" + "".join(f"{1e6 * t / len(crops):11.0f}" for t in times)
              + f"  {'yes' if exact[name] else 'NO'}")  # fmt: skip


def fields_table(paths):
    files, decoders = [path.read_bytes() for path in paths], field_decoders()
    times = shortest({name: lambda d=decode: [d(file) for file in files] for name, decode in decoders.items()})
    for name, decode in decoders.items():
        assert all(np.array_equal(decode(file), decoders["cv2"](file)) for file in files), name
    print(f"\ndecoding {len(files)} grey PNGs of fields: {1e3 * times['cv2'] / len(files):.1f} ms each by cv2")
    for name, taken in times.items():
        print(f"{name:46}{times['cv2'] / taken:7.2f} × the speed of cv2")


def main():
    cv2.setNumThreads(1)
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else REAL
    lacking = [name for name in ("imagecodecs", "pyspng") if not importlib.util.find_spec(name)]
    versions = f"OpenCV {cv2.__version__}, Pillow {PIL.__version__}, pyarrow {pa.__version__}"
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}")
    print("".join(f"{name} is not installed: its codecs are left out\n" for name in lacking), end="")
    crops_table(list(np.concatenate(field_crops(root))))
    if root.is_dir():
        fields_table(sorted((root / "images").glob("*.png")))


if __name__ == "__main__":
    main()
