import re
import warnings

import numpy as np
import pandas as pd
import pytest

from hpa_utils.weak_labels.folds import assign_folds, field_groups, find_samples, read_samples, split_fields


def labels_of(counts):
    """Fields with a single label each: {class: number of fields}."""
    return np.repeat(np.eye(19, dtype=np.int8)[list(counts)], list(counts.values()), axis=0)


def quietly(*arguments, **named):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return assign_folds(*arguments, **named)


def test_folds_spread_every_class_evenly():
    labels = labels_of({11: 20, 0: 50, 18: 30})
    fold = quietly(labels, 5, seed=0)
    assert np.bincount(fold).tolist() == [20] * 5
    assert all(labels[fold == k, 11].sum() == 4 and labels[fold == k, 18].sum() == 6 for k in range(5))
    assert (quietly(labels, 5, seed=0) == fold).all()
    assert (quietly(labels, 5, seed=1) != fold).any()


def test_groups_stay_together():
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 19)) < 0.2).astype(np.int8)
    groups = rng.integers(0, 80, 200)
    fold = quietly(labels, 5, seed=0, groups=groups)
    assert all(len(set(fold[groups == group])) == 1 for group in set(groups))
    assert set(fold) == set(range(5))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (labels_of({0: 9}), "9 fields are too few for 5 folds"),
        (np.zeros((1, 19), np.int8), "1 fields are too few for 5 folds"),
        (np.zeros((0, 19), np.int8), "0 fields are too few for 5 folds"),
        (labels_of({3: 20}), "all 20 fields have the same labels"),
        (np.full((20, 19), -1, np.int8), "all 20 fields have the same labels"),
        (np.ones((20, 19), np.int8), "all 20 fields have the same labels"),
        (labels_of({0: 30, 11: 3}), "no field has class 1, 2, 3, .*, 18: it cannot be learned"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_breaks(labels, message):
    with pytest.warns(UserWarning) as caught:
        fold = assign_folds(labels, 5, seed=0)
    assert any(re.search(message, str(warning.message)) for warning in caught)
    assert fold.shape == (len(labels),)
    assert set(fold) == ({-1} if 0 < len(labels) < 10 else set(range(5)) if len(labels) else set())


def test_one_big_sample_leaves_no_folds():
    with pytest.warns(UserWarning, match="20 fields form only 2 groups, too few for 5 folds"):
        assert (assign_folds(labels_of({0: 20}), 5, seed=0, groups=np.arange(20) // 10) == -1).all()


def test_near_duplicates_and_fields_of_a_sample_are_one_group():
    hashes = ["00000000ffffffff", "00000000fffffffe", "ffffffff00000000", "0f0f0f0f0f0f0f0f", ""]
    fields = pd.DataFrame({"image_id": list("abcde"), "blue_hash": hashes})
    assert field_groups(fields).tolist() == [0, 0, 1, 2, 3]
    assert field_groups(fields, {"b": "well 1", "c": "well 1", "z": "well 9"}).tolist() == [0, 0, 0, 1, 2]
    assert field_groups(fields.iloc[:0]).tolist() == []
    with pytest.raises(ValueError, match="has none of the 5 fields, such as a"):
        field_groups(fields, {"z": "well 9"})


def test_the_table_of_samples_is_read_and_checked(tmp_path):
    path = tmp_path / "samples.csv"
    path.write_text("ID,sample\na,1\nb,1\nc,\n")
    assert read_samples(path) == {"a": "1", "b": "1"}
    path.write_text("ID,sample\na,1\na,2\n")
    with pytest.raises(ValueError, match="ID 'a' stands there more than once"):
        read_samples(path)
    path.write_text("ID,well\na,1\n")
    with pytest.raises(ValueError, match="samples.csv, row 1: no column sample"):
        read_samples(path)


def test_the_fields_of_a_table_are_split_with_their_duplicates_and_the_samples_of_a_csv(tmp_path):
    rng = np.random.default_rng(0)
    hashes = [rng.bytes(8).hex() for _ in range(40)]
    hashes[1] = hashes[0]
    ids = [f"field-{number:02d}" for number in range(40)]
    table = pd.DataFrame({"image_id": ids, "blue_hash": hashes, "labels": list(labels_of({0: 20, 16: 20}))})
    assert find_samples(tmp_path) is None
    (tmp_path / "samples.csv").write_text("\n".join(["ID,sample", *(f"{image_id},well" for image_id in ids[5:15]), ""]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fold, grouped = split_fields(table, 4, 0, ""), split_fields(table, 4, 0, find_samples(tmp_path))
    assert fold[0] == fold[1] and grouped[0] == grouped[1]
    assert len(set(fold[5:15])) > 1 and len(set(grouped[5:15])) == 1
    assert set(fold) == set(grouped) == set(range(4))
