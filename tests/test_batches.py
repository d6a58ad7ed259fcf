import shutil

import numpy as np
import pyarrow as pa
import pytest

from hpa_utils import tables
from hpa_utils.crops import Bags, BagSampler, encode_crop
from hpa_utils.crops.bags import BAGS
from hpa_utils.crops.batches import cell_batches, training_batches, training_dataset

SIZE, COUNTS = 16, [1, 2, 5, 3, 4, 7]


def crop_of(bag, cell, size=SIZE):
    """All pixels (bag, cell, 7, 255): every crop says whose it is."""
    return np.tile(np.array([bag, cell, 7, 255], np.uint8), (size, size, 1))


def write_part(path, numbers, key="key", prefix="field", size=SIZE):
    """Bags of `COUNTS` cells, label and percentiles their number; field IDs are `prefix`-number."""
    with tables.part_writer(path, BAGS, key) as writer:
        for number in numbers:
            count = COUNTS[number]
            bag = {
                "image_id": f"{prefix}-{number}",
                "split": "train",
                "labels": [int(label == number) for label in range(19)],
                "percentiles": [float(number)] * 16,
                "cell_ids": list(range(1, count + 1)),
                "crops": [encode_crop(crop_of(number, cell, size)) for cell in range(count)],
                "scales": [0.3] * count,
                "edge_fractions": [0.0] * count,
            }
            writer.write_table(pa.Table.from_pylist([bag], schema=BAGS))
        writer.add_key_value_metadata({"cells_fingerprint": "cells"})


@pytest.fixture
def bags(tmp_path):
    """Six bags of 1 to 7 cells in two parts."""
    write_part(tmp_path / "bags" / "part-train-0000.parquet", range(4))
    write_part(tmp_path / "bags" / "part-train-0001.parquet", range(4, 6))
    return Bags(tmp_path / "bags", "train")


def six(bags, bags_per_batch=4, cells_per_bag=3, **changes):
    return BagSampler(range(6), bags.counts, cells_per_bag, bags_per_batch, seed=0, **changes)


def first(batches, count):
    return [batch for _, batch in zip(range(count), batches)]


def test_bags_are_read_by_number_across_parts(bags):
    assert len(bags) == 6 and bags.counts.tolist() == COUNTS
    assert (bags.labels == np.eye(6, 19, dtype=np.int8)).all() and (bags.percentiles[5] == 5).all()
    assert bags.crops(5) == [encode_crop(crop_of(5, cell)) for cell in range(7)]
    assert [view.tobytes() for view in bags.views(2)] == bags.crops(2)


def test_bags_of_several_folders_stand_in_the_order_of_their_parts(bags, tmp_path):
    write_part(tmp_path / "other" / "part-train-0000.parquet", [1], key="other data", prefix="other")
    shutil.copy(tmp_path / "bags" / "part-train-0001.parquet", tmp_path / "other")  # the same part twice
    both = Bags([tmp_path / "bags", tmp_path / "other"], "train")
    assert sorted(both.table["image_id"]) == sorted(["other-1", *bags.table["image_id"]])


def test_a_field_in_two_parts_is_refused(bags, tmp_path):
    write_part(tmp_path / "other" / "part-train-0002.parquet", [3])
    with pytest.raises(ValueError, match="field-3"):
        Bags([tmp_path / "bags", tmp_path / "other"], "train")


def test_folders_without_the_split_are_named(bags, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no bags of the test split in {tmp_path}"):
        Bags([tmp_path / "bags"], "test")


def test_a_batch_holds_the_drawn_cells_their_fields_labels_and_blanks(bags):
    for step, batch in enumerate(first(training_batches(bags, six(bags), SIZE), 6)):
        numbers, drawn = six(bags).batch(step)
        assert (batch.bags == numbers).all()
        assert batch.inputs["cells"].shape == (4, 3, SIZE, SIZE, 4) and batch.inputs["cells"].dtype == np.uint8
        for row, (number, cells) in enumerate(zip(numbers, drawn, strict=True)):
            count = len(cells)
            assert batch.positions[row].tolist() == cells.tolist() + [-1] * (3 - count)
            assert batch.inputs["valid"][row].tolist() == [1.0] * count + [0.0] * (3 - count)
            assert (batch.inputs["cells"][row, :count] == np.stack([crop_of(number, cell) for cell in cells])).all()
            assert not batch.inputs["cells"][row, count:].any()
        assert (batch.inputs["percentiles"][:, 0, 0] == numbers).all()
        assert (batch.targets["field"].argmax(axis=1) == numbers).all()
        assert (batch.targets["cells"] == batch.targets["field"][:, None]).all()
        assert (batch.weights["cells"] == batch.inputs["valid"]).all() and (batch.weights["field"] == 1).all()


def test_batches_are_the_same_for_any_number_of_workers_and_go_on_at_any_step(bags):
    one = first(training_batches(bags, six(bags), SIZE, workers=1), 8)
    many = first(training_batches(bags, six(bags), SIZE, workers=5), 8)
    later = first(training_batches(bags, six(bags), SIZE, start=5), 3)
    for expected, same in zip([*one, *one[5:]], [*many, *later], strict=True):
        assert (expected.positions == same.positions).all()
        assert (expected.inputs["cells"] == same.inputs["cells"]).all()


def test_soft_labels_follow_the_drawn_cells(bags):
    targets = {number: np.arange(count)[:, None] + np.zeros(19) for number, count in enumerate(COUNTS)}
    for batch in first(training_batches(bags, six(bags), SIZE, cell_targets=targets), 12):
        valid = batch.positions >= 0
        assert (batch.targets["cells"][valid] == batch.positions[valid][:, None]).all()


def test_labels_of_other_cells_are_refused(bags):
    with pytest.raises(ValueError, match=r"field field-\d are \(9, 19\); expected"):
        next(training_batches(bags, six(bags), SIZE, cell_targets=[np.zeros((9, 19))] * 6))


def test_crops_of_another_size_are_refused_by_field_and_cell(bags):
    with pytest.raises(ValueError, match=r"field-\d: the crop of cell \d is \(16, 16, 4\), expected \(32, 32, 4\)"):
        next(training_batches(bags, six(bags), 32))


def test_cells_come_in_order_in_batches_of_one_size(bags):
    batches = list(cell_batches(bags, [4, 0, 2], SIZE, 3))
    assert [len(batch["cells"]) for batch in batches] == [3, 3, 3, 1]
    crops = np.concatenate([batch["cells"] for batch in batches])
    expected = [(4, 0), (4, 1), (4, 2), (4, 3), (0, 0), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4)]
    assert [tuple(crop[0, 0, :2].tolist()) for crop in crops] == expected
    percentiles = np.concatenate([batch["percentiles"] for batch in batches])
    assert percentiles[:, 0, 0].tolist() == [bag for bag, _ in expected]
    assert list(cell_batches(bags, [], SIZE, 3)) == []


def test_tf_data_gives_the_same_batches(bags):
    plain = first(training_batches(bags, six(bags), SIZE, start=2), 3)
    for expected, (inputs, targets, weights) in zip(plain, training_dataset(bags, six(bags), SIZE, start=2)):
        for part, tensors in zip((expected.inputs, expected.targets, expected.weights), (inputs, targets, weights)):
            assert set(part) == set(tensors)
            assert all((part[name] == tensors[name].numpy()).all() for name in part)
    cells = [batch["cells"] for batch in cell_batches(bags, [4, 0], SIZE, 3)]
    assert [len(batch) for batch in cells] == [3, 2] and (cells[1][1] == crop_of(0, 0)).all()


def test_tf_data_knows_its_shapes_and_its_hosts_share(bags):
    sampler = six(bags, shard=(1, 2))
    dataset = training_dataset(bags, sampler, SIZE)
    inputs, targets, weights = dataset.element_spec
    assert inputs["cells"].shape == (2, 3, SIZE, SIZE, 4) and targets["field"].shape == (2, 19)
    assert weights["cells"].shape == (2, 3)
    whole = next(training_batches(bags, six(bags), SIZE))
    assert (next(iter(dataset))[0]["cells"].numpy() == whole.inputs["cells"][2:]).all()
