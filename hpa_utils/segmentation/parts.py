"""One part of the field and cell table: read its fields, segment them, measure the cells, write both files."""

import functools
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import images, processes, tables
from hpa_utils.dataset import Dataset
from hpa_utils.deadlines import check_time
from hpa_utils.manifest import FORMAT, digest
from hpa_utils.segmentation import measure
from hpa_utils.segmentation.reference import ReferenceMasks, mask_sizes
from hpa_utils.segmentation.stream import ahead, attempt

BYTES_A_FIELD = 40_000  # some 22 cells, whose outlines take most of it


@dataclass(frozen=True)
class SegmentationPart:
    """The work of one part; small enough to be sent to a worker.

    Attributes
    ----------
    name : str
        File name of the part in ``fields/`` and ``cells/``.
    image_ids : tuple of str
    labels : numpy.ndarray
        int8 (n, 19), −1 where unknown.
    key : str
        Digest of what the part is made from: format, segmenter, pixel size, labels, the names of its files.
    isolated : bool
        Read and segment each field in a process of its own: for a part whose worker was lost again and again.
    until : float
        Unix time from which on no field is begun: the rest is set aside.
    """

    name: str
    split: str
    folder: Path
    image_ids: tuple
    labels: np.ndarray
    pixel_size: float
    segmenter: object
    stage: Path
    key: str
    isolated: bool = False
    until: float = float("inf")

    def __len__(self):
        return len(self.image_ids)


def plan_segmentation(
    dataset: Dataset, splits: list[str], segmenter, stage: str | Path, until: float = float("inf")
) -> list[SegmentationPart]:
    """The parts of the given splits, in order; `until` as in `SegmentationPart`."""
    plan = []
    sizes = mask_sizes(segmenter.folder) if isinstance(segmenter, ReferenceMasks) else {}
    for split in splits:
        for number, image_ids in enumerate(tables.plan_parts(dataset.image_ids(split))):
            labels = dataset.label_vectors(split, image_ids)
            files = {image_id: dataset.files[split].get(image_id, ()) for image_id in image_ids}
            masks = {image_id: sizes[image_id] for image_id in image_ids if image_id in sizes}
            made_by = [type(segmenter).__name__, getattr(segmenter, "weights", ()), masks]
            plan.append(
                SegmentationPart(
                    name=f"part-{split}-{number:04d}.parquet",
                    split=split,
                    folder=dataset.folders[split],
                    image_ids=tuple(image_ids),
                    labels=labels,
                    pixel_size=dataset.pixel_size_um,
                    segmenter=segmenter,
                    stage=Path(stage),
                    key=digest([FORMAT, made_by, dataset.pixel_size_um, files, labels.tolist()]),
                    until=until,
                )
            )
    return plan


def estimate_bytes(plan: list[SegmentationPart]) -> int:
    """Bytes that the tables of the given parts will take, from what a field of 2048² takes."""
    return BYTES_A_FIELD * sum(map(len, plan))


def segment_part(part: SegmentationPart, reuse: bool = True) -> dict:
    """Write the two files of a part, unless they are there with the same key and no field wants another try.

    A field that cannot be read or segmented, or for which there is no time, is set aside: it gets a row with its error
    and no cells.

    Returns
    -------
    dict
        `fields` and `reused`: how many fields the part has, how many of them were there already.
    """
    fields_path, cells_path = (part.stage / table / part.name for table in ("fields", "cells"))
    if reuse and _is_done(part, fields_path, cells_path):
        return {"fields": len(part), "reused": len(part)}
    field_rows, cell_rows = [], []
    for image_id, labels, found in zip(part.image_ids, part.labels, _segmented(part), strict=True):
        row, rows = _rows(part, image_id, labels, found)
        field_rows.append(row)
        cell_rows.extend(rows)
    tables.write_part(cells_path, cell_rows, tables.CELLS, part.key, {"cells_fingerprint": _fingerprint(cell_rows)})
    tables.write_part(fields_path, field_rows, tables.FIELDS, part.key)
    return {"fields": len(part), "reused": 0}


def _segmented(part: SegmentationPart) -> Iterator:
    """(field, (nuclei, cells)) of each field of a part, or the exception of one that cannot be had."""
    if part.isolated:
        yield from (attempt(functools.partial(processes.in_child, _read_and_segment, part), i) for i in part.image_ids)
        return
    read = functools.partial(attempt, functools.partial(_read, part))
    if hasattr(part.segmenter, "stream"):
        # a GPU would wait for one file after the other, so several are read ahead
        kept, files = deque(), ahead(read, part.image_ids, depth=8, threads=min(4, os.cpu_count() or 1))
        fields = (kept.append(field) or field for field in files)
        for labels in part.segmenter.stream(fields):
            yield _together(kept.popleft(), labels)
        return
    for image_id in part.image_ids:
        yield attempt(functools.partial(_read_and_segment, part), image_id)


def _together(field, labels):
    return labels if isinstance(labels, Exception) else (field, labels)


def _read(part: SegmentationPart, image_id: str) -> np.ndarray:
    check_time(part.until)
    return images.read_field(part.folder, image_id)


def _read_and_segment(part: SegmentationPart, image_id: str) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    field = _read(part, image_id)
    named = (image_id,) if isinstance(part.segmenter, ReferenceMasks) else ()
    return field, part.segmenter.segment(field, *named)


def _fingerprint(cell_rows: list[dict]) -> str:
    return tables.cells_fingerprint(pd.DataFrame(cell_rows, columns=tables.CELLS.names))


def _rows(part: SegmentationPart, image_id: str, labels: np.ndarray, found) -> tuple[dict, list[dict]]:
    """Row of the field table and rows of the cell table."""

    def measured(found):
        field, (nuclei, cells) = found
        rows = measure.cell_rows(image_id, part.split, cells, nuclei, field)
        return tables.field_row(image_id, part.split, field, len(rows), labels, part.pixel_size), rows

    found = attempt(measured, found)
    if not isinstance(found, Exception):
        return found
    # whatever is wrong with one field must not stop the other 21,805
    failure = images.describe_failure(part.folder, image_id, found)
    return tables.error_row(image_id, part.split, labels, part.pixel_size, **failure), []


def _is_done(part: SegmentationPart, fields_path: Path, cells_path: Path) -> bool:
    if not tables.part_key(fields_path) == tables.part_key(cells_path) == part.key:
        return False
    failed = tables.failed_fields(tables.read_part(fields_path))
    return images.set_aside_unchanged({part.split: part.folder}, failed)
