import os
import shutil
import unicodedata

import cv2
import numpy as np
import pytest
from conftest import field_with_cells, write_field

from hpa_utils.dataset import CHANNELS, list_fields, open_dataset, read_label_table
from hpa_utils.images import read_field, read_field_of


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
        ("ID,Label\na,1\na,2\n", "row 3: ID 'a' stands there more than once, first in row 2; keep one"),
        ("ID,Label\na ,1\n", "row 2: ID 'a ' .* spaces at an end"),
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON file"),
        ("[]", "expected an object"),
        ('{"pixel_size_um": "x"}', "expected a number"),
        ('{"pixel_size_um": 0}', "expected 0.01…2 µm"),
        ('{"pixel_size_um": NaN}', "expected 0.01…2 µm"),
        ('{"pixel_size": 0.32}', "unknown key pixel_size; did you mean pixel_size_um"),
    ],
)
def test_a_bad_setting_is_refused(tiny_dataset, text, message):
    (tiny_dataset / "dataset.json").write_text(text)
    with pytest.raises(ValueError, match=f"dataset.json.*{message}"):
        open_dataset(tiny_dataset)


def test_a_field_in_both_splits_is_refused_when_the_data_set_is_opened(tiny_dataset):
    write_field(tiny_dataset / "test", "train-03", field_with_cells())
    open_dataset(tiny_dataset)  # the sample does not ask for it
    (tiny_dataset / "sample_submission.csv").unlink()
    with pytest.raises(ValueError, match=r"field 'train-03' is in train and in test \(1 such fields\)"):
        open_dataset(tiny_dataset)


@pytest.mark.parametrize(
    ("table", "header"), [("train.csv", "ID,Label"), ("sample_submission.csv", "ID,ImageWidth,ImageHeight")]
)
def test_a_table_of_other_images_is_refused(tiny_dataset, table, header):
    (tiny_dataset / table).write_text(f"{header}\nx.png,1{',1' if 'Width' in header else ''}\n")
    with pytest.raises(
        ValueError, match=f"{table}: none of its 1 IDs, such as 'x.png', has files in t.*/, which has 't"
    ):
        open_dataset(tiny_dataset)


@pytest.mark.parametrize("size", ["128,", "x,96", "128,96.5", "0,96", "-1,96"])
def test_a_bad_size_in_the_sample_is_named_by_its_row(tiny_dataset, size):
    (tiny_dataset / "sample_submission.csv").write_text(f"ID,ImageWidth,ImageHeight\ntest-0,128,96\ntest-1,{size}\n")
    with pytest.raises(ValueError, match="sample_submission.csv, row 3: ImageWidth × ImageHeight is"):
        open_dataset(tiny_dataset)


def test_image_ids_that_look_like_numbers_or_nan_stay_text(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("ID,Label\n007,1\nnan,2\n")
    assert list(read_label_table(path)) == ["007", "nan"]


def add(folder, *names):
    """Empty files of these names."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()


def whole(image_id, extension=".png"):
    return [f"{image_id}_{channel}{extension}" for channel in CHANNELS]


def test_a_field_is_listed_by_its_four_files(tmp_path):
    add(tmp_path, *whole("a"), "a_red.txt", "red.png", "_red.png", "a.png")
    assert list_fields(tmp_path) == {"a": dict(zip(CHANNELS, whole("a"), strict=True))}


def test_hidden_files_and_composites_are_no_fields(tmp_path):
    add(tmp_path, *whole("a"), *whole("._a"), "a_blue_red_green.jpg", "a_blue_red_green_yellow.jpg", "b_red.png")
    assert list(list_fields(tmp_path)) == ["a", "b"]
    add(tmp_path, *whole("a_blue"))
    assert list(list_fields(tmp_path)) == ["a", "a_blue", "b"]


def test_letter_case_of_channel_and_extension_does_not_matter(tmp_path):
    write_field(tmp_path, "A", field_with_cells())
    for channel in CHANNELS:
        (tmp_path / f"A_{channel}.png").rename(tmp_path / f"A_{channel.title()}.PNG")
    assert list_fields(tmp_path)["A"]["red"] == "A_Red.PNG"
    assert (read_field(tmp_path, "A") == field_with_cells()).all()


def test_of_several_files_of_a_channel_the_lossless_one_is_taken(tmp_path):
    add(tmp_path, *whole("a", ".jpg"), *whole("a", ".tif"), "a_red.png")
    assert list(list_fields(tmp_path)["a"].values()) == ["a_blue.tif", "a_green.tif", "a_red.png", "a_yellow.tif"]


@pytest.mark.parametrize(("in_table", "in_files"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_ids_in_another_unicode_form_than_the_files_are_found(tmp_path, in_table, in_files):
    image_id = unicodedata.normalize(in_table, "Zürich-1")
    write_field(tmp_path / "images", unicodedata.normalize(in_files, image_id), field_with_cells())
    (tmp_path / "train.csv").write_text(f"ID,Label\n{image_id},3\n")
    dataset = open_dataset(tmp_path)
    assert dataset.image_ids("train") == [image_id]
    assert read_field_of(dataset, "train", image_id).any()


@pytest.mark.parametrize(("brightest", "depth"), [(200, 8), (791, 10), (1203, 12), (16000, 14), (40000, 16)])
def test_the_range_comes_from_a_sample_of_the_data(tmp_path, brightest, depth):
    for number in range(9):
        field = np.full((4, 4, 4), 7, np.uint16)
        field[0, 0, 3] = brightest - number  # brightest in the first field, in yellow
        write_field(tmp_path, f"f{number}", field)
    dataset = open_dataset(tmp_path)
    assert dataset.bit_depth == depth
    told = f'{depth} bit in files of 16: the brightest pixel of a sample is {brightest:,}; "bit_depth" in dataset.json'
    assert told in dataset.range_note


def test_the_range_of_tiffs_is_found_beside_other_files(tmp_path):
    field = field_with_cells()
    write_field(tmp_path, "a", field)
    for index, channel in enumerate(CHANNELS):
        cv2.imwrite(str(tmp_path / f"b_{channel}.tif"), field[..., index].astype(np.uint16) * 16)
    dataset = open_dataset(tmp_path)
    assert dataset.bit_depth == 12
    assert abs(read_field_of(dataset, "test", "b").astype(int) - field).max() <= 1
    assert (read_field_of(dataset, "test", "a") == field).all()


def test_the_range_given_in_the_settings_holds(tmp_path):
    write_field(tmp_path, "a", np.full((4, 4, 4), 1023, np.uint16))
    (tmp_path / "dataset.json").write_text('{"bit_depth": 12}')
    dataset = open_dataset(tmp_path)
    assert dataset.range_note == "12 bit, as dataset.json says"
    assert (read_field_of(dataset, "test", "a") == 64).all()


def test_of_eight_bit_files_one_tells_the_range(tiny_dataset):
    for path in sorted((tiny_dataset / "train").iterdir())[1:]:
        path.write_bytes(b"never read")
    dataset = open_dataset(tiny_dataset)
    assert dataset.bit_depth == 8 and dataset.range_note == "8 bit"


def test_a_file_that_was_overwritten_has_another_stamp(tiny_dataset):
    before, path = open_dataset(tiny_dataset).stamps, tiny_dataset / "test" / "test-0_red.png"
    os.utime(path, ns=(0, 5))
    after = open_dataset(tiny_dataset).stamps
    assert before["train"] == after["train"]
    assert [i for i in before["test"] if before["test"][i] != after["test"][i]] == ["test-0"]
    path.unlink()
    path.symlink_to(tiny_dataset / "nowhere.png")
    assert ["test-0_red.png"] in open_dataset(tiny_dataset).stamps["test"]["test-0"]


def test_kaggles_files_are_known_by_their_names_alone(tiny_dataset, monkeypatch):
    (tiny_dataset.parent / "input").mkdir()
    mounted = tiny_dataset.rename(tiny_dataset.parent / "input" / "competition")
    monkeypatch.setenv("HPA_KAGGLE", str(mounted.parent.parent))
    stamps = open_dataset(mounted).stamps["test"]["test-0"]
    assert sorted(stamps) == [[name] for name in sorted(whole("test-0"))]
