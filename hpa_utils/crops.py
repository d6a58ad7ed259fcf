"""Crops: one cell each, its neighbours masked out, padded to a square, brought to a fixed size, and stored one by one.

A crop set is a folder with two files a part: ``part-*.crops`` holds the crops, each its four planes compressed by
zstd on its own, one behind the other; ``part-*.parquet`` is their index. A draw reads the bytes of its crop and no
others.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa

from hpa_utils import images, masks, tables
from hpa_utils.checks import check_labels, check_pixels, check_settings
from hpa_utils.dataset import Dataset
from hpa_utils.limits import check_time
from hpa_utils.manifest import FORMAT, digest, read_config
from hpa_utils.paths import atomic_write

INDEX = pa.schema(
    {
        "image_id": pa.string(),
        "cell_id": pa.int32(),
        "offset": pa.int64(),
        "length": pa.int32(),
        "um_per_px": pa.float32(),  # of the crop
    }
)
CODEC = "zstd", 9


@dataclass(frozen=True)
class CropConfig:
    """How cells are cut out.

    Attributes
    ----------
    size : int
        Side of a crop, px (S).
    um_per_px : float
        0: cells larger than a crop are shrunk to fit, smaller ones keep their pixels. Else all are brought to this
        scale (µm a crop px), and what reaches beyond the crop is cut off.
    margin_um : float
        Width of the rim kept round a cell's own outline, µm; it never reaches into a neighbour.
    whole : bool
        Whether a crop is a whole field, as if it were one cell (`tables.whole_fields`).
    """

    size: int = 128
    um_per_px: float = 0.0
    margin_um: float = 0.8
    whole: bool = False

    def __post_init__(self):
        check_settings(asdict(self), CropConfig.__annotations__, "crops")
        if not 16 <= self.size <= 1024:
            raise ValueError(f"size is {self.size}; expected a crop of 16…1024 px")
        if self.um_per_px and not 0.02 <= self.um_per_px <= 5:
            raise ValueError(f"um_per_px is {self.um_per_px}; expected 0.02…5 µm, or 0 to fit each cell")
        if not 0 <= self.margin_um <= 20:
            raise ValueError(f"margin_um is {self.margin_um}; expected 0…20 µm")


def crop_set_of(model: str | Path) -> tuple[str, CropConfig]:
    """Name and configuration of the crop set that a model was trained on; ValueError if its ``config.json`` is bad."""
    crops = read_config(model)["crops"]
    check_settings(crops["config"], CropConfig.__annotations__, f"{Path(model) / 'config.json'}: crops.config")
    return crops["name"], CropConfig(**crops["config"])


def cut_cell(
    field: np.ndarray, cells: np.ndarray, cell_id: int, box: tuple, pixel_size: float, config: CropConfig
) -> tuple[np.ndarray, float]:
    """Cut one cell out of its field.

    Parameters
    ----------
    field : numpy.ndarray
        uint8 (H, W, 4), channel order red, green, blue, yellow.
    cells : numpy.ndarray
        uint16 (H, W), cell labels.
    box : (y0, x0, y1, x1)
        The cell's box, half-open, px.
    pixel_size : float
        µm per px of the field.

    Returns
    -------
    crop : numpy.ndarray
        uint8 (S, S, 4), the box in its centre; 0 beyond the image and beyond the cell's margin. Shrunk by area
        averaging, enlarged (only at a fixed scale) linearly.
    um_per_px : float
        Scale of the crop.
    """
    check_pixels(field, "field")
    check_labels(cells, "cells", field.shape[:2])
    margin = 0 if config.whole else config.margin_um / pixel_size
    margin = int(margin + 0.5)  # not `round`: 2.5 px are 3, in float32 and float64
    if config.um_per_px:
        side = max(1, round(config.size * config.um_per_px / pixel_size))
    else:
        side = max(box[2] - box[0] + 2 * margin, box[3] - box[1] + 2 * margin, config.size)
    top, left = (box[0] + box[2] - side) // 2, (box[1] + box[3] - side) // 2
    y0, y1 = (min(max(y, 0, top), len(cells), top + side) for y in (box[0] - margin, box[2] + margin))
    x0, x1 = (min(max(x, 0, left), cells.shape[1], left + side) for x in (box[1] - margin, box[3] + margin))
    square = np.zeros((side, side, 4), np.uint8)
    own = _own_pixels(cells[y0:y1, x0:x1], cell_id, margin)
    square[y0 - top : y1 - top, x0 - left : x1 - left] = cv2.copyTo(field[y0:y1, x0:x1], own)
    if side != config.size:
        interpolation = cv2.INTER_AREA if side > config.size else cv2.INTER_LINEAR
        square = cv2.resize(square, (config.size, config.size), interpolation=interpolation)
    return square, pixel_size * side / config.size


def encode_crop(crop: np.ndarray) -> bytes:
    """A crop, uint8 (S, S, 4), as its four planes compressed by zstd."""
    check_pixels(crop, "crop")
    return pa.Codec(*CODEC).compress(np.ascontiguousarray(crop.transpose(2, 0, 1)), asbytes=True)


def decode_crop(data: bytes, size: int, out: np.ndarray | None = None) -> np.ndarray:
    """The crop, uint8 (size, size, 4), of its compressed planes; written into `out` if that is given."""
    planes = pa.Codec(*CODEC).decompress(data, decompressed_size=4 * size * size)
    planes = np.frombuffer(planes, np.uint8).reshape(4, size, size)
    return cv2.merge(list(planes), out)  # several times as fast as NumPy's transpose


@dataclass(frozen=True)
class CropPart:
    """The work of one part; small enough to be sent to a worker, which reads the part's tables itself."""

    name: str  # file name of the index, the same as in fields/ and cells/
    split: str
    images: Path  # folder of the split
    files: dict  # image ID → channel → name of its file
    bit_depth: int  # of the data set
    segmented: Path  # folder of 02_segmentation that has the part's tables
    folder: Path  # of the crop set
    image_ids: tuple  # fields that have cells and are to be cut
    n_cells: int
    config: CropConfig
    key: str  # digest of what it is made from: format, configuration, masks, images, which fields at which scale
    until: float = float("inf")  # Unix time from which on no field is begun: the rest is set aside

    def __len__(self):
        return len(self.image_ids)

    @property
    def path(self) -> Path:
        """Index of the part."""
        return self.folder / self.name


def plan_crops(
    dataset: Dataset,
    splits: list[str],
    segmented: list[Path],
    config: CropConfig,
    folder: str | Path,
    left_out: frozenset = frozenset(),
    until: float = float("inf"),
) -> list[CropPart]:
    """The parts of a crop set: one for each part of the field table in the folders of 02_segmentation (its shards).

    Fields that are `left_out` are not cut; `until` is as in `CropPart`.
    """
    plan = []
    for path in (path for split in splits for path in tables.list_parts([s / "fields" for s in segmented], split)):
        fields = tables.read_part(path, ["image_id", "n_cells", "pixel_size_um"])
        fields = fields[(fields["n_cells"] > 0) & ~fields["image_id"].isin(left_out)]
        masked = tables.part_metadata(path.parents[1] / "cells" / path.name).get("cells_fingerprint", "")
        split, ids = path.name.split("-")[1], list(fields["image_id"])
        stamps = [dataset.bit_depth, *(dataset.stamps[split].get(image_id, []) for image_id in ids)]
        scales = fields[["image_id", "pixel_size_um"]].values.tolist()
        plan.append(
            CropPart(
                name=path.name,
                split=split,
                images=dataset.folders[split],
                files={image_id: dataset.files[split].get(image_id, {}) for image_id in ids},
                bit_depth=dataset.bit_depth,
                segmented=path.parents[1],
                folder=Path(folder),
                image_ids=tuple(ids),
                n_cells=len(fields) if config.whole else int(fields["n_cells"].sum()),
                config=config,
                key=digest([FORMAT, asdict(config), masked, stamps, scales]),
                until=until,
            )
        )
    return plan


def write_crops(part: CropPart, reuse: bool = True) -> dict:
    """Cut the fields of one part, unless it is there with the same key and no field wants another try.

    Returns
    -------
    dict
        `cells` and `bytes` written, and `set_aside`: the fields that could not be read, or for which there was no time.
    """
    if reuse and tables.part_key(part.path) == part.key:
        done = json.loads(tables.part_metadata(part.path)["summary"])
        if images.set_aside_unchanged({part.split: part.images}, {part.split: part.files}, done["set_aside"]):
            return done
    summary, rows, kept = {"cells": 0, "bytes": 0, "set_aside": []}, [], []
    with atomic_write(part.path.with_suffix(".crops")) as temporary, open(temporary, "wb") as file:
        for field, cells in _read_tables(part):
            try:
                crops = cut_field(part, field, cells)
            except Exception as error:  # whatever a broken file does, the others are cut
                aside = images.describe_failure(part.images, field["image_id"], part.files[field["image_id"]], error)
                summary["set_aside"].append({"image_id": field["image_id"], "split": part.split, **aside})
                continue
            for cell_id, (crop, um_per_px) in zip(cells["cell_id"], crops, strict=True):
                data = encode_crop(crop)
                rows.append((field["image_id"], cell_id, summary["bytes"], len(data), um_per_px))
                summary["cells"] += 1
                summary["bytes"] += file.write(data)
            kept.append(cells)
        part.path.unlink(missing_ok=True)  # an older index does not fit these crops
    fingerprint = tables.cells_fingerprint(pd.concat(kept) if kept else pd.DataFrame(columns=tables.CELLS.names))
    metadata = {"summary": json.dumps(summary), "cells_fingerprint": fingerprint, "size": str(part.config.size)}
    metadata["whole"] = str(part.config.whole)
    rows = [dict(zip(INDEX.names, row, strict=True)) for row in rows]
    tables.write_part(part.path, rows, INDEX, part.key, metadata)  # last: crops without an index are no part
    return summary


def cut_field(part: CropPart, row: dict, cells: pd.DataFrame) -> list[tuple[np.ndarray, float]]:
    """`cut_cell` of all cells of a field, given its row of the field table and its rows of the cell table."""
    check_time(part.until)
    shape = row["height"], row["width"]
    field = images.read_field(part.images, row["image_id"], part.files[row["image_id"]], part.bit_depth)
    if field.shape[:2] != shape:
        raise ValueError(f"field {row['image_id']} is {field.shape[:2]} px, was {shape} when it was segmented")
    labels = masks.paint_labels(list(cells["rle"]), list(cells["cell_id"]), *shape)
    boxes = cells[["y0", "x0", "y1", "x1"]].itertuples(index=False, name=None)
    ids = zip(cells["cell_id"], boxes, strict=True)
    return [cut_cell(field, labels, cell_id, box, row["pixel_size_um"], part.config) for cell_id, box in ids]


def estimate_bytes(plan: list[CropPart], looked_at: int = 6) -> int:
    """Bytes that the parts not yet written will take, from the crops of one field in each of a few parts."""
    lacking = [part for part in plan if part.n_cells and tables.part_key(part.path) != part.key]
    lengths = []
    for part in lacking[:: max(1, len(lacking) // looked_at)]:
        try:
            lengths += [len(encode_crop(crop)) for crop, _ in cut_field(part, *next(_read_tables(part)))]
        except Exception:
            continue  # it will be set aside
    return int(np.mean(lengths) * sum(part.n_cells for part in lacking)) if lengths else 0


def _read_tables(part: CropPart) -> Iterator[tuple[dict, pd.DataFrame]]:
    """(row of the field table, its rows of the cell table) of each field."""
    fields = tables.read_part(part.segmented / "fields" / part.name).set_index("image_id", drop=False)
    cells = dict(list(tables.read_part(part.segmented / "cells" / part.name).groupby("image_id")))
    for image_id in part.image_ids:
        own = tables.whole_fields(fields.loc[[image_id]]) if part.config.whole else cells[image_id]
        yield fields.loc[image_id].to_dict(), own


def _own_pixels(labels: np.ndarray, cell_id: int, margin: int) -> np.ndarray:
    """255 where the cell is and, off other cells, within the margin of it; uint8."""
    own = labels == cell_id
    near = cv2.distanceTransform((~own).astype(np.uint8), cv2.DIST_L2, 5) <= margin
    return (own | (near & (labels == 0))).astype(np.uint8) * 255
