"""What version 0.1 put out on three small fields still comes out, bit by bit where numbers are exact.

``tests/data/make_v01.py`` made the fixtures with version 0.1 and says what they hold.
"""

import base64
import csv
import hashlib
import json
import zlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from hpa_utils import masks, tables
from hpa_utils.images import near_duplicates
from hpa_utils.scoring import score_report, score_submission, write_submission
from hpa_utils.segmentation import WatershedSegmenter, measure

DATA = Path(__file__).resolve().parent / "data"
TRUTH, SUBMISSION, OTHER = (DATA / f"v01_{name}.csv" for name in ("truth", "submission", "other"))
PIXEL_SIZE = 0.32  # µm
SIZE = 256  # px, side of a field


@pytest.fixture(scope="module")
def stored():
    """Rows, figures and digests."""
    return json.loads((DATA / "v01.json").read_text())


@pytest.fixture(scope="module")
def arrays():
    """Fields, crops and matrices."""
    return dict(np.load(DATA / "v01.npz"))


@pytest.fixture(scope="module")
def cells(stored):
    """The cell table of version 0.1."""
    table = pd.DataFrame(stored["cells"])
    return table.assign(rle=[rle.encode() for rle in table["rle"]])


def flat(value, name: str = "") -> dict:
    """Nested dicts and lists as one dict, to be compared by `pytest.approx`."""
    if isinstance(value, dict):
        return {key: leaf for inner in value for key, leaf in flat(value[inner], f"{name}/{inner}").items()}
    if isinstance(value, list | tuple):
        return flat(dict(enumerate(value)), name)
    return {name: value}


# Segmentation ---------------------------------------------------------------------------------------------------------


def test_watershed_gives_the_same_field_and_cell_tables(stored, arrays):
    cell_rows = []
    for number, expected in enumerate(stored["fields"]):
        image_id, split, field = expected["image_id"], expected["split"], arrays[f"field_{number}"]
        nuclei, cells = WatershedSegmenter(PIXEL_SIZE).segment(field)
        rows = measure.cell_rows(image_id, split, cells, nuclei, field)
        row = tables.field_row(image_id, split, field, len(rows), expected["labels"], PIXEL_SIZE)
        row |= {"percentiles": row["percentiles"].tolist(), "pixel_size_um": float(np.float32(PIXEL_SIZE))}
        assert {name: row[name] for name in expected} == expected
        cell_rows += rows
    assert [row["rle"].decode() for row in cell_rows] == [row["rle"] for row in stored["cells"]]
    keys = ("image_id", "split", "cell_id")
    for row, expected in zip(cell_rows, stored["cells"], strict=True):
        assert [row[name] for name in keys] == [expected[name] for name in keys]
        measures = {name: value for name, value in expected.items() if name not in (*keys, "rle")}
        assert {name: row[name] for name in measures} == pytest.approx(measures, rel=1e-5, abs=1e-6)


def test_watershed_gives_the_same_labels_where_it_works_on_a_smaller_copy(stored, arrays):
    field = cv2.resize(arrays["field_1"], (4 * SIZE, 4 * SIZE), interpolation=cv2.INTER_LINEAR)
    nuclei, cells = WatershedSegmenter(0.08).segment(field)
    assert np.bincount(cells.ravel())[1:].tolist() == stored["enlarged"]["areas"]
    assert np.bincount(nuclei.ravel())[1:].tolist() == stored["enlarged"]["nucleus_areas"]
    assert hashlib.sha256(cells.tobytes()).hexdigest() == stored["enlarged"]["sha256"]


# The metric -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("absent", ["false_positive", "ignored"])
def test_score_is_the_same(stored, absent):
    found = score_submission(TRUTH, SUBMISSION, absent=absent)
    assert flat(found) == pytest.approx(flat(stored["metric"][absent]), abs=1e-9)


def test_interval_comparison_and_diagnosis_are_the_same(stored):
    found = score_report(TRUTH, SUBMISSION, rounds=200, against=OTHER, diagnosis=True)
    # of the diagnosis the two losses are left; scores with perfect masks or labels and the confusion are gone
    expected = stored["metric"]["report"] | {"diagnosis": {"loss": stored["metric"]["report"]["diagnosis"]["loss"]}}
    assert flat(found) == pytest.approx(flat(expected), abs=1e-9)


# The submission -------------------------------------------------------------------------------------------------------


def row_digests(path: Path) -> dict:
    """SHA-256 of each row of a submission by ID, masks as COCO counts: zlib's bytes are not the same everywhere."""
    digests = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            words = row["PredictionString"].split(" ")
            words[2::3] = [zlib.decompress(base64.b64decode(text)).decode() for text in words[2::3]]
            line = ",".join([row["ID"], row["ImageWidth"], row["ImageHeight"], " ".join(words)])
            digests[row["ID"]] = hashlib.sha256(line.encode()).hexdigest()
    return digests


def test_confidences_give_the_same_rows(stored, arrays, cells, tmp_path):
    expected = stored["submission_rows"]  # in the order asked for, one of them of a field without cells
    rows = pd.DataFrame({"ID": list(expected), "ImageWidth": SIZE, "ImageHeight": SIZE})
    path = tmp_path / "submission.csv"
    write_submission(path, rows, cells, cells[["image_id", "cell_id"]], arrays["confidences"])
    found = row_digests(path)
    assert list(found) == list(expected)
    assert found == expected


def test_scores_give_the_same_confidences_under_the_old_blend(arrays, cells):
    """Cell × field in classes 0…17, the field's score being that of its mean logit; in 18 the cell's own."""
    from hpa_utils.inference import field_mean, sigmoid

    field, _ = pd.factorize(cells["image_id"])
    own, of_field = sigmoid(arrays["logits"]), sigmoid(field_mean(arrays["logits"], field))
    np.testing.assert_allclose(own, arrays["cell_scores"], rtol=1e-4)
    np.testing.assert_allclose(of_field[:, :18], arrays["field_scores"][:, :18], rtol=1e-5)
    confidences = own * of_field
    confidences[:, 18] = own[:, 18]
    squeezed = confidences < 1e-30  # which version 0.1 brought into what float32 holds, in their order
    assert squeezed.sum() == 2
    np.testing.assert_allclose(confidences[~squeezed], arrays["confidences"][~squeezed], rtol=1e-5)


# Weak labels ----------------------------------------------------------------------------------------------------------


def test_fields_get_the_same_folds(arrays):
    from hpa_utils.weak_labels.folds import assign_folds

    np.testing.assert_array_equal(assign_folds(arrays["labels"], 5, 0), arrays["folds"])
    grouped = assign_folds(arrays["labels"], 5, 0, arrays["groups"])
    np.testing.assert_array_equal(grouped, arrays["folds_of_groups"])


def test_cells_get_the_same_spindle_scores(stored, cells):
    from hpa_utils.weak_labels.cell_labels import mitosis_score

    np.testing.assert_allclose(mitosis_score(cells), stored["mitosis_scores"], rtol=1e-6)


def test_the_same_hashes_are_near_duplicates(stored):
    assert near_duplicates(stored["hashes"]).tolist() == stored["near_duplicates"]


# Crops ----------------------------------------------------------------------------------------------------------------


def test_crops_and_their_scales_are_the_same(stored, arrays, cells):
    """Of one cell within its field, one at the border, and the smallest."""
    from hpa_utils.crops import CropConfig, cut_cell

    for cell, expected in zip(stored["crops"], arrays["crops"], strict=True):
        of_field = cells[cells["image_id"] == stored["fields"][cell["field"]]["image_id"]]
        labels = masks.paint_labels(list(of_field["rle"]), list(of_field["cell_id"]), SIZE, SIZE)
        field, box = arrays[f"field_{cell['field']}"], tuple(cell["box"])
        crop, scale = cut_cell(field, labels, cell["cell_id"], box, float(np.float32(PIXEL_SIZE)), CropConfig(size=64))
        assert scale == pytest.approx(cell["scale"])
        np.testing.assert_array_equal(crop, expected)


# The network ----------------------------------------------------------------------------------------------------------


def test_lite0_gives_the_same_feature_map(stored):
    from hpa_utils.model import build_backbone

    backbone, _ = build_backbone("lite0", 64)
    inputs = (np.arange(64 * 64 * 4) * 37 % 256).reshape(1, 64, 64, 4).astype(np.float32)
    features = np.asarray(backbone(inputs))
    expected = stored["feature_map"]
    assert list(features.shape) == expected["shape"]
    assert [features.mean(), features.std()] == pytest.approx([expected["mean"], expected["std"]], abs=1e-4)
    np.testing.assert_allclose(features.ravel()[:20], expected["first"], rtol=1e-4, atol=1e-4)


def test_normalisation_is_the_same(arrays):
    from hpa_utils.model import FieldNormalisation

    found = FieldNormalisation()(arrays["crops"][1:2], arrays["percentiles"][None])
    np.testing.assert_allclose(np.asarray(found).reshape(64, 64, 4), arrays["normalised"], atol=1e-3)
