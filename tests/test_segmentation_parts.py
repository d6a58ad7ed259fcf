"""The parts of the field and the cell table: what is made, kept, set aside and tried again; which segmenter."""

import time

import cv2
import numpy as np
import pytest
from conftest import field_with_cells, write_field

from hpa_utils import tables
from hpa_utils.dataset import open_dataset
from hpa_utils.segmentation import (
    ReferenceMasks,
    WatershedSegmenter,
    choose_segmenter,
    estimate_bytes,
    plan_segmentation,
    segment_part,
)


@pytest.fixture
def plan(tiny_dataset, tmp_path):
    """Plans of the tiny data set as it is now; `until` and the segmenter may be given."""

    def made(segmenter=None, **options):
        segmenter = segmenter or WatershedSegmenter(0.32)
        return plan_segmentation(open_dataset(tiny_dataset), ["train", "test"], segmenter, tmp_path / "02", **options)

    return made


def read(part, table="fields"):
    return tables.read_part(part.stage / table / part.name)


def test_a_part_has_a_row_a_field_and_a_row_a_cell(plan):
    parts = plan()
    names = ["part-train-0000.parquet", "part-train-0001.parquet", "part-test-0000.parquet"]
    assert [(part.name, len(part)) for part in parts] == list(zip(names, (8, 4, 3)))
    assert estimate_bytes(parts[:1]) * 15 == estimate_bytes(parts) * 8 > 0
    assert segment_part(parts[1]) == {"fields": 4, "reused": 0}
    fields, cells = read(parts[1]), read(parts[1], "cells")
    assert fields["image_id"].tolist() == [f"train-{number:02d}" for number in range(8, 12)]
    assert (fields["n_cells"] == 2).all() and (fields["height"] == 96).all() and (fields["width"] == 128).all()
    assert np.flatnonzero(fields["labels"][0]).tolist() == [2] and (fields["pixel_size_um"] == np.float32(0.32)).all()
    assert cells["cell_id"].tolist() == [1, 2] * 4
    fingerprint = tables.part_metadata(parts[1].stage / "cells" / parts[1].name)["cells_fingerprint"]
    assert fingerprint == tables.cells_fingerprint(cells)


def test_a_part_is_made_again_only_if_it_would_be_another(plan, tiny_dataset):
    part = plan()[0]
    segment_part(part)
    assert segment_part(plan()[0]) == {"fields": 8, "reused": 8}
    assert segment_part(part, reuse=False)["reused"] == 0
    (tiny_dataset / "dataset.json").write_text('{"pixel_size_um": 0.3}')
    assert plan()[0].key != part.key and segment_part(plan()[0])["reused"] == 0
    (part.stage / "cells" / part.name).unlink()
    assert segment_part(plan()[0])["reused"] == 0


def test_a_field_that_cannot_be_read_is_set_aside_until_its_files_change(plan, tiny_dataset):
    path = tiny_dataset / "train" / "train-03_blue.png"
    path.write_bytes(b"torn")
    segment_part(plan()[0])
    (failed,) = tables.failed_fields(read(plan()[0]))
    assert failed["image_id"] == "train-03" and "train-03_blue.png cannot be decoded" in failed["error"]
    assert str(tiny_dataset) not in failed["error"]
    assert len(read(plan()[0], "cells")) == 14
    assert segment_part(plan()[0])["reused"] == 8
    write_field(path.parent, "train-03", field_with_cells())
    assert segment_part(plan()[0])["reused"] == 0
    assert not tables.failed_fields(read(plan()[0])) and len(read(plan()[0], "cells")) == 16


def test_new_images_under_old_names_are_segmented_anew(plan, tiny_dataset):
    segment_part(plan()[0])
    write_field(tiny_dataset / "train", "train-03", np.zeros((96, 128, 4), np.uint8))
    assert segment_part(plan()[0])["reused"] == 0
    assert read(plan()[0]).set_index("image_id")["n_cells"]["train-03"] == 0


def test_a_field_beyond_the_range_of_the_data_set_is_set_aside(plan, tiny_dataset):
    write_field(tiny_dataset / "train", "train-03", field_with_cells().astype(np.uint16) * 16)
    segment_part(plan()[0])
    (failed,) = tables.failed_fields(read(plan()[0]))
    assert failed["image_id"] == "train-03" and 'give "bit_depth": 12 in dataset.json' in failed["error"]


def test_fields_that_the_deadline_does_not_reach_are_set_aside_and_done_later(plan):
    part = plan(until=time.time() - 1)[0]
    segment_part(part)
    failed = tables.failed_fields(read(part))
    assert len(failed) == 8 and all(row["error"].startswith("OutOfTime") for row in failed)
    assert segment_part(plan()[0])["reused"] == 0
    assert not tables.failed_fields(read(part))


def test_masks_of_another_folder_are_other_cells(plan, tmp_path):
    for name, cells in (("one", 1), ("many", 12)):
        mask = np.zeros((96, 128), np.uint8)
        for cell in range(cells):
            mask[40:56, 8 * cell : 8 * cell + 6] = cell + 1
        (tmp_path / name).mkdir()
        for number in range(8):
            cv2.imwrite(str(tmp_path / name / f"train-{number:02d}.png"), mask)
        part = plan(ReferenceMasks(tmp_path / name, 0.32))[0]
        assert segment_part(part)["reused"] == 0
        assert (read(part)["n_cells"] == cells).all()


def test_the_segmenter_is_chosen_by_name(tmp_path):
    assert choose_segmenter("watershed", 0.32, tmp_path) == ("watershed", WatershedSegmenter(0.32))
    assert choose_segmenter("masks", 0.32, tmp_path) == ("masks", ReferenceMasks(tmp_path, 0.32))
    with pytest.raises(ValueError, match="segmenter 'unet' is unknown; there are auto, hpacellseg"):
        choose_segmenter("unet", 0.32, tmp_path)


def test_without_the_weights_auto_takes_the_watershed_and_hpacellseg_stops(tmp_path):
    with pytest.warns(UserWarning, match="dpn_unet_nuclei_v1.pth, dpn_unet_cell_3ch_v1.pth not found.*watershed"):
        assert choose_segmenter("auto", 0.08, tmp_path, weights=tmp_path)[0] == "watershed"
    with pytest.raises(FileNotFoundError, match="dpn_unet_nuclei_v1.pth"):
        choose_segmenter("hpacellseg", 0.08, tmp_path, weights=tmp_path)
