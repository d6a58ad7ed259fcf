"""How well cells in mitosis are told without labels: `python benchmarks/mitosis.py [--fields N] [--data ROOT]`.

Simulated fields, with the true masks and with the watershed's: how often the highest cells of a field labelled 11 are
its spindles, and how high spindles rank among all cells. The four real fields, if they are there: the rank of the one
clear cell of b6a469d8. The score's columns were chosen by what mitosis does to a cell; that an even nucleus is not
among them, and the score from which a cell counts as likely, were settled after a look at 360 simulated fields of seed
5 and the real fields. The default run simulates others.
"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd

from hpa_simulator import write_dataset
from hpa_utils import masks
from hpa_utils.csv_files import read_csv
from hpa_utils.dataset import open_dataset
from hpa_utils.images import read_field
from hpa_utils.segmentation import WatershedSegmenter, measure
from hpa_utils.segmentation.masks_elsewhere import ReferenceMasks, iou_table, read_labels
from hpa_utils.weak_labels.cell_labels import LIKELY, mitosis_score, spindle_cells

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT.parent / "shared" / "data" / "hpa_fields"
CLEAR = "b6a469d8-bbad-11e8-b2ba-ac1f6b6435d0", 10  # the field and, in its masks, the cell


def measured(folder, masks_folder, pixel_size, segmenter, wanted):
    """Rows of the cell table of one field; `spindle`: is it one of the wanted masks (COCO counts), IoU ≥ 0.5."""
    image_id, wanted = wanted
    field = read_field(folder, image_id)
    if segmenter == "true masks":
        nuclei, cells = ReferenceMasks(masks_folder, pixel_size).segment(field, image_id)
    else:
        nuclei, cells = WatershedSegmenter(pixel_size).segment(field)
    rows = measure.cell_rows(image_id, "train", cells, nuclei, field)
    reference = masks.paint_labels(wanted, list(range(1, len(wanted) + 1)), *cells.shape)
    hit = iou_table(cells, reference).max(axis=1, initial=0) >= 0.5
    return [row | {"spindle": bool(hit[row["cell_id"] - 1])} for row in rows]


def simulated(root, segmenter):
    data = open_dataset(root)
    truth = read_csv(data.truth_path("train"), ("ID", "Label", "Mask"))
    spindles = (
        truth[truth["Label"] == "11"]
        .groupby("ID")["Mask"]
        .apply(lambda texts: [masks.text_to_counts(text) for text in texts])
        .to_dict()
    )
    ids = data.image_ids("train")
    work = partial(measured, data.folders["train"], data.root / "masks", data.pixel_size_um, segmenter)
    with ProcessPoolExecutor() as pool:
        rows = [row for found in pool.map(work, [(i, spindles.get(i, [])) for i in ids], chunksize=8) for row in found]
    cells = pd.DataFrame(rows)
    cells["score"] = mitosis_score(cells)
    fields = pd.DataFrame({"image_id": ids, "labels": list(data.label_vectors("train", ids))})
    place = cells.groupby("image_id")["score"].rank(ascending=False)
    true = cells["spindle"]
    labelled = cells["image_id"].isin(spindles)
    highest = [int((true & (place <= k)).sum()) for k in (1, 2, 3)]
    likely_elsewhere = int((~labelled & (cells["score"] >= LIKELY)).sum())
    carrying, _ = spindle_cells(cells, fields)
    right = carrying.merge(cells[["image_id", "cell_id", "spindle"]])["spindle"].sum()
    scores = cells.loc[true, "score"]
    print(f"{segmenter}: {len(cells)} cells; {true.sum()} spindles in {cells[true]['image_id'].nunique()} fields")
    print(f"  spindles among the highest 1, 2, 3 cells of their fields: {highest}")
    print(f"  score of a spindle: least {scores.min():.4f}, median {scores.median():.4f}")
    print(f"  cells with a score of {LIKELY} or more in fields not labelled 11: {likely_elsewhere}")
    print(f"  cells that carry the label: {len(carrying)}, of them spindles: {right}")


def real(segmenter):
    ids = sorted(path.stem for path in (REAL / "masks").glob("*.png"))
    rows = []
    for image_id in ids:
        clear = [masks.encode_counts(read_labels(REAL / "masks", CLEAR[0], (2048, 2048)) == CLEAR[1])]
        wanted = clear if image_id == CLEAR[0] else []
        rows += measured(REAL / "images", REAL / "masks", 0.08, segmenter, (image_id, wanted))
    cells = pd.DataFrame(rows)
    cells["score"] = mitosis_score(cells)
    true, everywhere = cells["spindle"], cells["score"].rank(ascending=False)
    place = cells.groupby("image_id")["score"].rank(ascending=False)
    print(
        f"real fields, {segmenter}: the clear cell is number {place[true].tolist()} of its field's "
        f"{(cells['image_id'] == CLEAR[0]).sum()}, {everywhere[true].tolist()} of all {len(cells)} cells"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, default=400)
    parser.add_argument("--data", help="a simulated data set there is already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.data or write_dataset(Path(folder) / "data", options.fields, 1, 512, seed=11)
        for segmenter in ("true masks", "watershed"):
            simulated(root, segmenter)
    for segmenter in ("true masks", "watershed") if REAL.is_dir() else ():
        real(segmenter)


if __name__ == "__main__":
    main()
