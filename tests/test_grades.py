import cv2
import numpy as np
import pandas as pd
import pytest

from hpa_utils import masks
from hpa_utils.weak_labels.grades import (
    graded_cells,
    match_grades,
    match_points,
    read_grades,
    read_points,
    use_grades,
    visible,
)


def write(path, *rows, header="ID,mask_label,label,score,source"):
    path.write_text("\n".join([header, *rows, ""]))
    return path


def our_cells():
    """A field of 20 × 40 px with two cells of 10 × 10 px: number 1 at the left, 2 at the right."""
    rows = []
    for number, x in ((1, 5), (2, 25)):
        mask = np.zeros((20, 40), bool)
        mask[5:15, x : x + 10] = True
        rows.append({"image_id": "a", "cell_id": number, "rle": masks.encode_counts(mask)})
    return pd.DataFrame(rows), pd.DataFrame({"image_id": ["a"], "height": [20], "width": [40]})


def write_mask(folder, image_id="a"):
    """At half the size: 7 is our right cell, 3 covers a quarter of our left one, 9 is elsewhere."""
    mask = np.zeros((10, 20), np.uint8)
    mask[2:7, 12:17], mask[2:4, 2:5], mask[8:, :4] = 7, 3, 9
    cv2.imwrite(str(folder / f"{image_id}.png"), mask)


def grades_of(*rows):
    return pd.DataFrame(rows, columns=["image_id", "mask_label", "label", "score", "source"])


def test_each_source_has_its_own_scale(tmp_path):
    rows = ("a,1,2,3,validation", "a,1,8,3,validation", "a,1,8,3,relabel", "a,1,8,1,relabel", "a,1,8,0.7,me")
    grades = read_grades(write(tmp_path / "cell_scores.csv", *rows))
    assert grades["score"].tolist() == pytest.approx([0.6, 0.6, 1, 0, 0.7])
    assert grades["source"].tolist() == ["validation", "validation", "relabel", "relabel", "me"]
    ten = read_grades(write(tmp_path / "ten.csv", "a,1,2,7,us"), scales={"us": (0, 10)})
    assert ten["score"].tolist() == [0.7]


def test_own_labels_need_no_source(tmp_path):
    grades = read_grades(write(tmp_path / "own.csv", "a,4,11,1", header="ID,mask_label,label,score"))
    assert grades.loc[0].tolist() == ["a", 4, 11, 1.0, ""]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,1,19,1,me", "row 3: expected a mask_label from 1, a label 0…18 and a number as score, found 1, 19, 1"),
        ("a,0,2,1,me", "row 3: expected a mask_label from 1"),
        ("a,1,2,high,me", "row 3: .*found 1, 2, high"),
        ("a,1,2,3,me", "row 3: score 3 of source 'me' is off its scale 0…1; give the scale"),
    ],
)
def test_what_cannot_be_a_grade_is_named(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        read_grades(write(tmp_path / "cell_scores.csv", "a,1,2,1,me", row))


def test_grades_go_to_the_cell_with_the_same_mask_and_the_others_are_reported(tmp_path):
    write_mask(tmp_path)
    write_mask(tmp_path, "b")
    grades = grades_of(
        ("a", 7, 2, 0.6, "relabel"),
        ("a", 7, 2, 1.0, "validation"),
        ("a", 7, 5, 0.2, "relabel"),
        ("a", 3, 2, 1.0, "relabel"),
        ("a", 8, 2, 1.0, "relabel"),  # the mask has no 8
        ("b", 7, 2, 1.0, "relabel"),
    )
    matched, unmatched = match_grades(grades, *our_cells(), tmp_path)
    assert matched[["image_id", "cell_id", "label", "source"]].to_numpy().tolist() == [
        ["a", 2, 2, "relabel+validation"],
        ["a", 2, 5, "relabel"],
    ]
    assert matched["score"].tolist() == pytest.approx([0.8, 0.2])
    assert unmatched["mask_label"].tolist() == [3, 8, 7]
    assert unmatched["reason"].tolist() == ["no cell with IoU 0.5 or more"] * 2 + ["its field has no cells here"]


def test_without_masks_nothing_is_matched(tmp_path):
    matched, unmatched = match_grades(grades_of(("a", 7, 2, 1.0, "me")), *our_cells(), tmp_path)
    assert matched.empty and unmatched["reason"].tolist() == ["no mask of its field"]


def test_a_data_set_may_have_grades_or_none(tmp_path):
    matched, unmatched = graded_cells(tmp_path, *our_cells())
    assert matched.empty and unmatched.empty and matched.columns.tolist()[:3] == ["image_id", "cell_id", "label"]
    write(tmp_path / "cell_scores.csv", "a,7,2,1,me")
    (tmp_path / "masks").mkdir()
    write_mask(tmp_path / "masks")
    matched, unmatched = graded_cells(tmp_path, *our_cells())
    assert matched.to_numpy().tolist() == [["a", 2, 2, 1.0, "me"]] and unmatched.empty


def write_points(path, *rows):
    return write(path, *rows, header="ID,y,x,label,shown")


def test_a_point_is_given_to_the_cell_it_lies_in_and_the_others_are_reported(tmp_path):
    rows = ("a,5,5,11,1", "a,14,34,11,0", "a,0,0,11,1", "a,5,40,11,1", "a,20,5,11,1", "b,5,5,11,1", "a,14.6,25,2,1")
    matched, unmatched = match_points(read_points(write_points(tmp_path / "cell_labels.csv", *rows)), *our_cells())
    assert matched[["cell_id", "label", "score"]].to_numpy().tolist() == [[1, 11, 1], [2, 2, 1], [2, 11, 0]]
    assert unmatched[["image_id", "y", "x", "reason"]].to_numpy().tolist() == [
        ["a", 0, 0, "no cell at this point"],
        ["a", 5, 40, "outside its field"],
        ["a", 20, 5, "outside its field"],
        ["b", 5, 5, "its field has no cells here"],
    ]


@pytest.mark.parametrize("row", ["a,-1,5,11,1", "a,5,x,11,1", "a,5,5,19,1", "a,5,5,11,yes", "a,5,5,11,2"])
def test_what_cannot_be_a_point_is_named(tmp_path, row):
    expected = "row 3: expected y and x in px from 0, a label 0…18 and shown 1 or 0, found " + row.split(",", 1)[1][:2]
    with pytest.raises(ValueError, match=expected):
        read_points(write_points(tmp_path / "cell_labels.csv", "a,1,2,1,1", row))


def test_points_come_beside_grades_and_on_kaggle_from_an_attached_file(tmp_path, monkeypatch):
    root, attached = tmp_path / "data", tmp_path / "input" / "my-labels"
    (root / "masks").mkdir(parents=True)
    attached.mkdir(parents=True)
    write(root / "cell_scores.csv", "a,7,2,0.5,me")
    write_mask(root / "masks")
    write_points(attached / "cell_labels.csv", "a,10,30,2,1", "a,10,10,11,1", "c,1,1,2,1")
    assert len(graded_cells(root, *our_cells())[0]) == 1
    monkeypatch.setenv("HPA_KAGGLE", str(tmp_path))
    matched, unmatched = graded_cells(root, *our_cells())
    assert matched.to_numpy().tolist() == [["a", 1, 11, 1.0, "points"], ["a", 2, 2, 0.75, "me+points"]]
    assert unmatched["image_id"].tolist() == ["c"]


def matched_of(*rows):
    return pd.DataFrame(rows, columns=["image_id", "cell_id", "label", "score"])


def test_grades_take_the_place_of_targets_and_lower_negative():
    targets = np.zeros((3, 19), np.float32)
    targets[:, [2, 18]] = 0.25, 0.75
    grades = matched_of(("a", 1, 2, 0.9), ("a", 2, 2, 0.0), ("a", 3, 18, 1.0), ("a", 3, 2, 1.0), ("a", 8, 2, 1.0))
    mixed = use_grades(targets, np.array([0, 1, 2, 2, -1]), grades)
    assert mixed[:, 2].tolist() == pytest.approx([0.9, 0, 1])
    assert mixed[:, 18].tolist() == pytest.approx([0.1, 0.75, 1])  # a grade of Negative itself is kept
    assert targets[:, 2].tolist() == [0.25] * 3 and mixed[:, 3].tolist() == [0] * 3
    assert (use_grades(targets, np.array([], int), matched_of()) == targets).all()


def test_what_people_saw_is_known_where_they_looked():
    grades = matched_of(("a", 1, 2, 0.6), ("a", 1, 5, 0.59), ("a", 8, 2, 1.0))
    seen = visible(2, np.array([1, 1, -1]), grades)
    assert seen.dtype == np.int8 and seen[1, [2, 5, 6]].tolist() == [1, 0, -1] and (seen[0] == -1).all()


def test_grades_of_real_fields_match_their_own_masks(real_fields):
    grades = read_grades(real_fields / "cell_scores.csv")
    rows, sizes = [], []
    for image_id in grades["image_id"].unique():
        labels = cv2.imread(str(real_fields / "masks" / f"{image_id}.png"), cv2.IMREAD_UNCHANGED)
        sizes.append({"image_id": image_id, "height": labels.shape[0], "width": labels.shape[1]})
        for number in range(1, labels.max() + 1):
            rle = masks.encode_counts(labels == number)
            rows.append({"image_id": image_id, "cell_id": number, "rle": rle})
    matched, unmatched = match_grades(grades, pd.DataFrame(rows), pd.DataFrame(sizes), real_fields / "masks")
    assert unmatched.empty and len(matched) == len(grades.drop_duplicates(["image_id", "mask_label", "label"]))
    spindle = matched[matched["label"] == 11]
    assert spindle.loc[spindle["score"] >= 0.6, "cell_id"].tolist() == [10]
