"""Crop sets of given crops, for tests that need no data set."""

import numpy as np

from hpa_utils import tables
from hpa_utils.crop_sets import CropSet
from hpa_utils.crops import INDEX, encode_crop


def plain_crops(count: int, first: int = 0, size: int = 16) -> np.ndarray:
    """Crops uint8 (count, size, size, 4) of one colour each: crop k has first + k, 10, 20, 30 everywhere."""
    crops = np.tile(np.array([0, 10, 20, 30], np.uint8), (count, size, size, 1))
    crops[..., 0] = first + np.arange(count)[:, None, None]
    return crops


def write_crop_part(folder, fields: dict, name="part-train-0000.parquet", key="key", fingerprint="") -> CropSet:
    """Write one part of a crop set; `fields`: image ID → crops uint8 (n, S, S, 4) of its cells 1…n. Opens its split."""
    data, rows, size = b"", [], 16
    for image_id, crops in fields.items():
        for cell_id, crop in enumerate(crops, start=1):
            encoded, size = encode_crop(crop), len(crop)
            rows.append(dict(zip(INDEX.names, (image_id, cell_id, len(data), len(encoded), 0.3), strict=True)))
            data += encoded
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).with_suffix(".crops").write_bytes(data)
    tables.write_part(folder / name, rows, INDEX, key, {"cells_fingerprint": fingerprint, "size": str(size)})
    return CropSet([folder], name.split("-")[1])
