import shutil

import numpy as np
import pytest
from conftest import field_with_cells, write_field

from hpa_utils.dataset import open_dataset, read_label_table


def test_kaggles_layout(tiny_dataset):
    dataset = open_dataset(tiny_dataset)
    assert list(dataset.folders) == ["train", "test"]
    assert dataset.pixel_size_um == 0.32
    assert dataset.image_ids("test") == ["test-0", "test-1", "test-2"]
    assert np.flatnonzero(dataset.label_vectors("train", ["train-01"])[0]).tolist() == [0, 16]
    assert (dataset.label_vectors("test", ["test-0"]) == -1).all()


def test_one_image_folder_with_a_table_is_a_train_split(tmp_path):
    write_field(tmp_path / "images", "a", field_with_cells())
    (tmp_path / "train.csv").write_text("ID,Label\na,3\n")
    dataset = open_dataset(tmp_path)
    assert list(dataset.folders) == ["train"] and dataset.pixel_size_um == 0.08


@pytest.mark.parametrize("folder", ["images", "."])
def test_images_alone_are_an_unlabelled_test_split(tmp_path, folder):
    write_field(tmp_path / folder, "a", field_with_cells())
    dataset = open_dataset(tmp_path)
    assert list(dataset.folders) == ["test"] and dataset.image_ids("test") == ["a"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        open_dataset(tmp_path / "nowhere")


def test_a_folder_without_fields_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no fields"):
        open_dataset(tmp_path)


def test_a_train_split_needs_its_table(tiny_dataset):
    (tiny_dataset / "train.csv").unlink()
    with pytest.raises(FileNotFoundError, match="no train.csv"):
        open_dataset(tiny_dataset)


def test_a_split_that_is_not_there_is_named(tiny_dataset):
    shutil.rmtree(tiny_dataset / "test")
    with pytest.raises(ValueError, match="no 'test' split; it has train"):
        open_dataset(tiny_dataset).choose_splits("train,test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("ID,Label\n", "no rows"),
        ("ID,Labels\na,1\n", "no column Label"),
        ("ID,Label\na,1\na,2\n", "'a' stands there more than once"),
        ("ID,Label\n../a,1\n", "path separator"),
        ("ID,Label\n..\\a,1\n", "path separator"),
        ("ID,Label\n,1\n", "empty"),
        ("ID,Label\na,1\nb,x|2\n", r"row 3 \(b\): label 'x\|2'"),
        ("ID,Label\na,\n", r"row 2 \(a\)"),
        ("ID,Label\na,19\n", "0…18"),
    ],
)
def test_a_bad_label_table_is_refused_by_name_and_row(tmp_path, text, message):
    path = tmp_path / "train.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_label_table(path)
    assert "train.csv" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"pixel_size_um": "x"}', '{"pixel_size_um": 0}'])
def test_a_bad_pixel_size_is_refused(tiny_dataset, text):
    (tiny_dataset / "dataset.json").write_text(text)
    with pytest.raises(ValueError, match="dataset.json"):
        open_dataset(tiny_dataset)


def test_image_ids_that_look_like_numbers_or_nan_stay_text(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("ID,Label\n007,1\nnan,2\n")
    assert list(read_label_table(path)) == ["007", "nan"]
