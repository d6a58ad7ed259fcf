"""The field and cell table, part by part: read the fields, segment them, measure the cells, write both files."""

import functools
import importlib.util
import sys
import warnings
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import images, tables
from hpa_utils.dataset import Dataset
from hpa_utils.limits import check_time
from hpa_utils.manifest import FORMAT, digest
from hpa_utils.paths import find_inputs
from hpa_utils.segmentation import measure
from hpa_utils.segmentation.hpacellseg import HPACellSegmenter
from hpa_utils.segmentation.masks_elsewhere import ReferenceMasks, mask_sizes
from hpa_utils.segmentation.watershed import WatershedSegmenter

SEGMENTERS = ("auto", "hpacellseg", "watershed", "masks")
WEIGHTS = ("dpn_unet_nuclei_v1.pth", "dpn_unet_cell_3ch_v1.pth")  # hpacellseg's, of nuclei and cells
GPU_THREADS = 4  # fields that are read and labelled while the networks work on another
BYTES_A_FIELD = 40_000  # some 22 cells, whose outlines take most of it


def choose_segmenter(name: str, pixel_size: float, masks: str | Path, weights: str | Path = "", sha256: str = ""):
    """The segmenter called `name` for fields of `pixel_size` µm/px, and the name of what it came to: (str, segmenter).

    ``auto`` takes hpacellseg where PyTorch, pytorch_zoo (the networks' classes) and the weights are found, else the
    watershed with a warning. `masks` is the folder of the masks, for ``masks``. `weights` is the folder of hpacellseg's
    two ``.pth`` files (empty: looked for among Kaggle's inputs), `sha256` is theirs, nuclei first, separated by a
    comma, where they have to be unpickled.
    """
    if name not in SEGMENTERS:
        raise ValueError(f"segmenter {name!r} is unknown; there are {', '.join(SEGMENTERS)}")
    if name == "masks":
        return name, ReferenceMasks(Path(masks), pixel_size)
    files = [Path(weights) / file if weights else next(iter(find_inputs(file)), Path(file)) for file in WEIGHTS]
    sources = [folder for folder in find_inputs("pytorch_zoo") if (folder / "__init__.py").is_file()]
    if sources and importlib.util.find_spec("pytorch_zoo") is None:
        sys.path.append(str(sources[0].parent))  # attached on Kaggle, where nothing can be installed by hand
    lacking = [package for package in ("torch", "pytorch_zoo") if importlib.util.find_spec(package) is None]
    lacking += [path.name for path in files if not path.is_file()]
    if name == "auto" and lacking:
        found = f"no hpacellseg ({', '.join(lacking)} not found): cells come from the watershed"
        warnings.warn(f"{found}; the competition's truth was made from hpacellseg's masks", stacklevel=2)
        name = "watershed"
    if name == "watershed":
        return name, WatershedSegmenter(pixel_size)
    hashes = [part.strip() for part in sha256.split(",")] if sha256 else None
    return "hpacellseg", HPACellSegmenter.from_files(*files, sha256=hashes, pixel_size=pixel_size)


@dataclass(frozen=True)
class SegmentationPart:
    """The work of one part; small enough to be sent to a worker.

    `name` is the file's in ``fields/`` and ``cells/`` under `stage`; `key` is a digest of what the part is made from;
    `labels` are int8 (n, 19), −1 where unknown; `files` and `bit_depth` are of the `Dataset`. From the Unix time
    `until` on no field is begun.
    """

    name: str
    key: str
    split: str
    image_ids: tuple
    labels: np.ndarray
    folder: Path
    files: dict
    stage: Path
    pixel_size: float
    bit_depth: int
    segmenter: object
    until: float

    def __len__(self):
        return len(self.image_ids)


def plan_segmentation(
    dataset: Dataset, splits: list[str], segmenter, stage: str | Path, until: float = float("inf")
) -> list[SegmentationPart]:
    """The parts of the given splits, in order; from the Unix time `until` on no field is begun."""
    plan = []
    common = {"stage": Path(stage), "segmenter": segmenter, "until": until}
    common |= {"pixel_size": dataset.pixel_size_um, "bit_depth": dataset.bit_depth}
    sizes = mask_sizes(segmenter.folder) if isinstance(segmenter, ReferenceMasks) else {}
    for split in splits:
        for number, ids in enumerate(tables.plan_parts(dataset.image_ids(split))):
            labels = dataset.label_vectors(split, ids)
            files = {image_id: dataset.files[split].get(image_id, {}) for image_id in ids}
            stamps = [dataset.stamps[split].get(image_id, []) for image_id in ids]
            masks = {image_id: sizes[image_id] for image_id in ids if image_id in sizes}
            made_by = [type(segmenter).__name__, getattr(segmenter, "weights", ()), masks]
            read_as = dataset.pixel_size_um, dataset.bit_depth
            key = digest([FORMAT, made_by, read_as, ids, stamps, labels.tolist()])
            name, folder = f"part-{split}-{number:04d}.parquet", dataset.folders[split]
            plan.append(SegmentationPart(name, key, split, tuple(ids), labels, folder, files, **common))
    return plan


def estimate_bytes(plan: list[SegmentationPart]) -> int:
    """Bytes that the tables of the given parts will take, from what a field of 2048² takes."""
    return BYTES_A_FIELD * sum(map(len, plan))


def segment_part(part: SegmentationPart, reuse: bool = True) -> dict:
    """Write the two files of a part, unless they are there with the same key and no field wants another try.

    A field that cannot be read or segmented, or for which there is no time, is set aside: it gets a row with its error
    and no cells. Returns how many `fields` the part has, and how many of them were `reused` from an earlier run.
    """
    fields_path, cells_path = (part.stage / table / part.name for table in ("fields", "cells"))
    if reuse and {tables.part_key(path) for path in (fields_path, cells_path)} == {part.key}:
        failed = tables.failed_fields(tables.read_part(fields_path))
        if images.set_aside_unchanged({part.split: part.folder}, {part.split: part.files}, failed):
            return {"fields": len(part), "reused": len(part)}
    with ThreadPool(GPU_THREADS if isinstance(part.segmenter, HPACellSegmenter) else 1) as pool:
        work = zip(part.image_ids, part.labels, strict=True)
        found = pool.starmap(functools.partial(_rows, part), work, chunksize=1)
    cell_rows = [row for _, rows in found for row in rows]
    fingerprint = tables.cells_fingerprint(pd.DataFrame(cell_rows, columns=tables.CELLS.names))
    tables.write_part(cells_path, cell_rows, tables.CELLS, part.key, {"cells_fingerprint": fingerprint})
    tables.write_part(fields_path, [row for row, _ in found], tables.FIELDS, part.key)
    return {"fields": len(part), "reused": 0}


def _rows(part: SegmentationPart, image_id: str, labels: np.ndarray) -> tuple[dict, list[dict]]:
    """Row of the field table and rows of the cell table of one field."""
    try:
        check_time(part.until)
        field = images.read_field(part.folder, image_id, part.files[image_id], part.bit_depth)
        named = (image_id,) if isinstance(part.segmenter, ReferenceMasks) else ()
        nuclei, cells = part.segmenter.segment(field, *named)
        rows = measure.cell_rows(image_id, part.split, cells, nuclei, field)
        return tables.field_row(image_id, part.split, field, len(rows), labels, part.pixel_size), rows
    except Exception as error:  # whatever is wrong with one field must not stop the other 21,805
        failure = images.describe_failure(part.folder, image_id, part.files[image_id], error)
        return tables.error_row(image_id, part.split, labels, part.pixel_size, **failure), []
