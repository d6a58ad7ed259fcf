"""Masks made elsewhere as the segmenter of a run."""

import cv2
import numpy as np
from conftest import field_with_cells

from hpa_utils.dataset import open_dataset
from hpa_utils.segmentation import ReferenceMasks, plan_segmentation, segment_part


def test_masks_made_elsewhere_are_brought_to_the_size_of_the_field(tmp_path):
    small = np.zeros((24, 32), np.uint8)
    small[8:16, 4:12], small[8:16, 20:28] = 7, 3
    cv2.imwrite(str(tmp_path / "a.png"), small)
    np.savez(tmp_path / "b.npz", labels=small)
    for image_id in "ab":
        nuclei, cells = ReferenceMasks(tmp_path, 0.32).segment(field_with_cells(), image_id)
        assert cells.shape == (96, 128) and cells.dtype == np.uint16
        assert (cells[32:64, 80:112] == 1).all() and (cells[32:64, 16:48] == 2).all()  # 3 and 7, numbered anew
        assert set(np.unique(nuclei)) <= {0, 1, 2} and (nuclei[nuclei > 0] == cells[nuclei > 0]).all()


def test_masks_of_another_folder_are_other_cells(tiny_dataset, tmp_path):
    dataset = open_dataset(tiny_dataset)
    found = []
    for name, cells in (("one", 1), ("many", 12)):
        folder = tmp_path / name
        folder.mkdir()
        mask = np.zeros((96, 128), np.uint8)
        for cell in range(cells):
            mask[40:56, 8 * cell : 8 * cell + 6] = cell + 1
        for image_id in dataset.image_ids("train"):
            cv2.imwrite(str(folder / f"{image_id}.png"), mask)
        plan = plan_segmentation(dataset, ["train"], ReferenceMasks(folder, 0.32), tmp_path / "02")
        found.append(sum(segment_part(part)["reused"] for part in plan))
    assert found == [0, 0]  # the same names, but not the same masks
