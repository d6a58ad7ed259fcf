"""Predictions in parts, a part for each of the bags': scores and rows of the CSV, kept until all are put together."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hpa_utils import tables
from hpa_utils.detections import COLUMNS, check_confidences, csv_line, empty_prediction, prediction_string
from hpa_utils.inference.blending import BlendConfig, blend
from hpa_utils.inference.budget import PredictionConfig
from hpa_utils.inference.models import Ensemble
from hpa_utils.manifest import FORMAT, digest
from hpa_utils.model.prediction import CELL_COLUMNS, FIELD_COLUMNS
from hpa_utils.paths import atomic_write

SCORES = pa.schema(
    {"image_id": pa.string(), "cell_id": pa.int64()} | dict.fromkeys(CELL_COLUMNS + FIELD_COLUMNS, pa.float32())
)
KEYED = ["image_id", "cell_id", "rle"]  # what a fingerprint of cells is made of


@dataclass(frozen=True)
class PredictionPart:
    """The bags of one part, and what they become.

    Attributes
    ----------
    name : str
        File name of the part, the same in every table.
    split : str
    bags, cells : Path
        Its bags and its part of the cell table.
    n_cells : int
    sizes : dict of str to (int, int)
        Width and height, px, of its fields that the submission must have.
    stage : Path
        The part is written into ``predictions/`` and ``rows/`` there.
    key : str
        Digest of what the scores are made from: format, crops, models, their number, views and cells a step.
    """

    name: str
    split: str
    bags: Path
    cells: Path
    n_cells: int
    sizes: dict
    stage: Path
    key: str

    @property
    def path(self) -> Path:
        """Its scores; the metadata name its rows."""
        return self.stage / "predictions" / self.name


def plan_predictions(
    cropped: list[Path],
    segmented: list[Path],
    split: str,
    rows: pd.DataFrame,
    stage: str | Path,
    ensemble: Ensemble,
    config: PredictionConfig,
    timed: bool = False,
) -> list[PredictionPart]:
    """The parts to predict: one for each part of the bags that has any.

    Parameters
    ----------
    cropped, segmented : list of Path
        Folders of 03_cell_crops and of 02_segmentation; several where shards of them were made apart.
    rows : pandas.DataFrame
        `ID`, `ImageWidth`, `ImageHeight` of every field that the submission must have.
    timed : bool
        With a deadline, when `config` is only the most that may be done: parts of earlier, hastier plans will do.

    Raises
    ------
    FileNotFoundError
        If there is no part, or none of the cell table for one.
    ValueError
        If two parts hold the same field.
    """
    sizes = {image_id: (w, h) for image_id, w, h in rows[["ID", "ImageWidth", "ImageHeight"]].itertuples(index=False)}
    recipe = [FORMAT, ensemble.digests, ensemble.crops, config.models, config.views, config.batch, timed]
    plan, seen = {}, {}
    for path in tables.list_parts([folder / "bags" for folder in cropped], split):
        metadata, bags = tables.part_metadata(path), pq.read_table(path, columns=["image_id", "cell_ids"])
        source = path.name, metadata["key"]
        if source in plan or not len(bags):  # a part found twice is predicted once
            continue
        seen[path] = bags["image_id"].to_pylist()
        plan[source] = PredictionPart(
            path.name,
            split,
            path,
            _find_cells(segmented, path.name),
            sum(map(len, bags["cell_ids"])),
            {image_id: sizes[image_id] for image_id in seen[path] if image_id in sizes},
            Path(stage),
            digest([recipe, *source, metadata["cells_fingerprint"]]),
        )
    tables.check_disjoint(seen)
    return list(plan.values())


def stored_plan(part: PredictionPart) -> str:
    """The plan by which the part was predicted whole, in words; "" where it was not, or of something else."""
    metadata = tables.part_metadata(part.path)
    return metadata["plan"] if metadata.get("key") == part.key else ""


def write_part(
    part: PredictionPart, scores: pd.DataFrame, ensemble: Ensemble, blending: BlendConfig, plan: str, whole: bool = True
) -> None:
    """Blend the scores of a part's fields and write both, the rows first: scores that are there have their rows.

    Parameters
    ----------
    scores : pandas.DataFrame
        As of `predict_bags`.
    plan : str
        By which they were made, to be read by people.
    whole : bool
        False where time ran out in the middle: the fields there are get rows, and the part is predicted anew later.
    """
    cells = tables.read_part(part.cells)
    made_from = rows_digest(part, ensemble, blending, plan)
    path = part.stage / "rows" / f"{Path(part.name).stem}-{made_from[:16]}{'' if whole else '-late'}.csv"
    index, start = {}, 0
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        for image_id, line in lines_of(part, scores, cells, ensemble, blending):
            file.write(line)
            index[image_id] = start, len(line)
            start += len(line)
    metadata = {"plan": plan, "rows": path.name, "made_from": made_from, "index": json.dumps(index)}
    with tables.part_writer(part.path, SCORES, part.key if whole else "late") as writer:
        writer.write_table(pa.Table.from_pandas(scores, SCORES, preserve_index=False))
        writer.add_key_value_metadata(metadata)


def lines_of(
    part: PredictionPart, scores: pd.DataFrame, cells: pd.DataFrame, ensemble: Ensemble, blending: BlendConfig
) -> Iterator[tuple[str, bytes]]:
    """ID and row of the CSV of each predicted field that the submission must have."""
    confidences = blend(scores, cells, blending, ensemble.calibration)
    check_confidences(confidences)
    counts = scores[["image_id", "cell_id"]].merge(cells, "left", ["image_id", "cell_id"])["rle"]
    for image_id, places in scores.groupby("image_id", sort=False).indices.items():
        if image_id in part.sizes:
            text = prediction_string(list(counts.iloc[places]), confidences[places])
            yield image_id, csv_line(image_id, *part.sizes[image_id], text)


def rows_digest(part: PredictionPart, ensemble: Ensemble, blending: BlendConfig, plan: str) -> str:
    """What the rows of a part are made from."""
    calibration = dataclasses.asdict(ensemble.calibration)
    return digest([part.key, plan, part.sizes, dataclasses.asdict(blending), calibration])


def refresh_rows(part: PredictionPart, ensemble: Ensemble, blending: BlendConfig) -> None:
    """Blend the scores of a finished part anew, if its rows were made by another blend."""
    metadata = tables.part_metadata(part.path)
    same = metadata["made_from"] == rows_digest(part, ensemble, blending, metadata["plan"])
    if not (same and (part.stage / "rows" / metadata["rows"]).is_file()):
        write_part(part, tables.read_part(part.path), ensemble, blending, metadata["plan"])


def join_predictions(parts: list[PredictionPart], segmented: list[Path], split: str, path: str | Path) -> int:
    """Put the scores together, a row group a part, with the fingerprint of the split's cells; returns their number."""
    listed, count = tables.list_parts([folder / "cells" for folder in segmented], split), 0
    fingerprint = tables.cells_fingerprint(tables.read_part(path, KEYED) for path in listed)
    with tables.keyed_writer(path, SCORES, fingerprint) as writer:
        for part in filter(_is_there, parts):
            table = pq.read_table(part.path)
            writer.write_table(table)
            count += len(table)
    return count


def join_rows(parts: list[PredictionPart], rows: pd.DataFrame, path: str | Path) -> int:
    """Put the submission together in the order of `rows`; a field without a row is Negative as a whole.

    Without parts it is a valid submission for the time until there are any.

    Returns
    -------
    int
        How many fields have bags but no prediction yet.
    """
    found = {}
    with contextlib.ExitStack() as opened, atomic_write(path) as temporary:
        for part in filter(_is_there, parts):
            metadata = tables.part_metadata(part.path)
            file = opened.enter_context(open(part.stage / "rows" / metadata["rows"], "rb"))
            found |= {image_id: (file, *place) for image_id, place in json.loads(metadata["index"]).items()}
        with open(temporary, "wb") as submission:
            submission.write(csv_line(*COLUMNS))
            for image_id, width, height in rows[["ID", "ImageWidth", "ImageHeight"]].itertuples(index=False):
                if image_id in found:
                    file, start, length = found[image_id]
                    file.seek(start)
                    submission.write(file.read(length))
                else:
                    submission.write(csv_line(image_id, width, height, empty_prediction(width, height)))
    return sum(len(part.sizes) for part in parts) - len(found)


def drop_leftovers(parts: list[PredictionPart], stage: str | Path) -> None:
    """Remove the parts that were made from something else or not to the end, and rows that no part names."""
    keys = {part.name: part.key for part in parts}
    for path in (Path(stage) / "predictions").glob("part-*.parquet"):
        if tables.part_key(path) != keys.get(path.name, "?"):
            path.unlink()
    named = {tables.part_metadata(part.path).get("rows") for part in parts}
    for path in (Path(stage) / "rows").glob("part-*.csv"):
        if path.name not in named:
            path.unlink()


def _is_there(part: PredictionPart) -> bool:
    return part.path.is_file()


def _find_cells(segmented: list[Path], name: str) -> Path:
    found = [path for folder in segmented if (path := folder / "cells" / name).is_file()]
    if not found:
        raise FileNotFoundError(f"no cells/{name} in {', '.join(map(str, segmented))}: run 02_segmentation again")
    return found[0]
