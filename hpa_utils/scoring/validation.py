"""Checks a submission, row by row, for all that Kaggle refuses and all that silently costs score."""

import re
from array import array
from pathlib import Path

import numpy as np
from pycocotools import mask as coco

from hpa_utils import masks
from hpa_utils.dataset import check_ids, read_csv
from hpa_utils.detections import COLUMNS, NO_CELLS_CONFIDENCE
from hpa_utils.labels import N_CLASSES, NEGATIVE
from hpa_utils.scoring.findings import Finding, Findings
from hpa_utils.scoring.rows import Unreadable, read_rows, shortened
from hpa_utils.scoring.submission import SUBMISSION

KAGGLE_BYTES = 20_000_000_000  # what /kaggle/working keeps
LONGEST_SIDE = 65_535  # px
LABELS = {str(label): label for label in range(N_CLASSES)}
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")  # no nan, inf or 1_000, which float() takes
BLOCK = 100  # masks compared with all others at a time
OVERLAP = 2 / 3  # IoU of two masks above which no two disjoint cells can both be hit
TIES, FEW_TIES = 0.05, 0.01  # shares of a class's confidences that are not alone
JUDGED = 10  # detections of a class from which on equal confidences mean something
UNFINISHED, UNFINISHED_SHARE = 5, 0.05  # fields without cells


def validate_submission(path: str | Path, sample: str | Path = "") -> list[Finding]:
    """Find what Kaggle would refuse, or what would silently cost score; ``docs/submission.md`` has all rules.

    The file is read row by row, so memory is that of one row and of 8 bytes a confidence.

    Parameters
    ----------
    sample : path
        ``sample_submission.csv``, to compare IDs, sizes and order with.

    Returns
    -------
    list of Finding
        Errors, then losses, then notes; after the first few of a rule, one that counts the others. Empty if all
        is well.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If the sample is malformed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    expected = _read_sample(Path(sample)) if sample else {}
    findings, rows_of = Findings(), {}
    confidences, unfinished = [array("d") for _ in range(N_CLASSES)], 0
    if path.name != SUBMISSION:
        findings.add("file name", 0, f"the file is called {shortened(path.name)}, Kaggle looks for {SUBMISSION}")
    if path.stat().st_size > KAGGLE_BYTES:
        what = f"{path.stat().st_size / 1e9:.1f} GB; Kaggle keeps {KAGGLE_BYTES / 1e9:.0f} GB of output"
        findings.add("file size", 0, what)
    try:
        for row, (image_id, width, height, text) in read_rows(path, findings):
            _check_field(findings, row, image_id, rows_of, expected)
            size = _check_size(findings, row, width, height, expected.get(image_id))
            unfinished += text.startswith(f"{NEGATIVE} {NO_CELLS_CONFIDENCE} ") and text.count(" ") == 2
            _check_prediction(findings, row, text, size, confidences)
        if not rows_of:
            raise Unreadable("no rows", 0, "the file has a header but no rows")
    except Unreadable as stop:
        findings.add(*stop.args)
    else:
        _check_fields(findings, rows_of, expected)
    _check_confidences(findings, confidences)
    if unfinished >= max(UNFINISHED, UNFINISHED_SHARE * len(rows_of)):
        what = f"{unfinished:,} of {len(rows_of):,} fields have no cells, only their whole area as Negative"
        findings.add("unfinished", 0, what)
    return findings.listed()


def _read_sample(path: Path) -> dict[str, tuple[int, int]]:
    """ID → (width, height), in the order of the sample."""
    table = read_csv(path, COLUMNS[:3])
    check_ids(table["ID"], path)
    try:
        sizes = table[list(COLUMNS[1:3])].astype(int)
    except ValueError as error:
        raise ValueError(f"{path}: ImageWidth and ImageHeight must be whole numbers ({error})") from None
    return dict(zip(table["ID"], sizes.itertuples(index=False, name=None), strict=True))


def _check_field(findings: Findings, row: int, image_id: str, rows_of: dict, expected: dict) -> None:
    if not image_id.strip() or image_id != image_id.strip() or any(sign in image_id for sign in "/\\\0\r\n"):
        findings.add("ID", row, f"ID {shortened(image_id)} is empty, or has spaces or separators")
    elif image_id in rows_of:
        findings.add("repeated field", row, f"field {shortened(image_id)} stands in row {rows_of[image_id]} already")
    elif expected and image_id not in expected:
        findings.add("unknown field", row, f"field {shortened(image_id)} is not in the sample")
    rows_of.setdefault(image_id, row)


def _check_fields(findings: Findings, rows_of: dict, expected: dict) -> None:
    for image_id in expected:
        if image_id not in rows_of:
            findings.add("missing field", 0, f"field {image_id} is missing")
    in_sample = [image_id for image_id in expected if image_id in rows_of]
    in_file = [image_id for image_id in rows_of if image_id in expected]
    for wanted, image_id in zip(in_sample, in_file, strict=True):
        if wanted != image_id:
            what = f"the rows are not in the sample's order: {image_id} stands where {wanted} is expected"
            findings.add("row order", rows_of[image_id], what)
            break


def _check_size(
    findings: Findings, row: int, width: str, height: str, expected: tuple[int, int] | None
) -> tuple[int, int] | None:
    """(height, width) in px; None where they are no size."""
    for name, text in (("ImageWidth", width), ("ImageHeight", height)):
        if not (re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= LONGEST_SIDE):
            findings.add("size", row, f"{name} {shortened(text)} is no whole number 1…{LONGEST_SIDE:,}")
            return None
    size = (int(width), int(height))
    if expected and size != expected:
        told = f"{size[0]} × {size[1]}, the sample has {expected[0]} × {expected[1]} (width × height)"
        if size == expected[::-1]:
            findings.add("size swapped", row, f"width and height are swapped: {told}")
        else:
            findings.add("size of the sample", row, f"size {told}")
    return size[::-1]


def _check_prediction(
    findings: Findings, row: int, text: str, size: tuple[int, int] | None, confidences: list[array]
) -> None:
    """Check one prediction, and append its confidences to those of their classes."""
    words = text.split()
    if not words:
        findings.add("empty prediction", row, "the prediction is empty")
        return
    if text != " ".join(words):
        whole = all(sign == " " or not sign.isspace() for sign in set(text))
        what = "spaces at an end, or several in a row" if whole else "line breaks, tabs or the like in the prediction"
        findings.add("spaces" if whole else "separators", row, what)
    if len(words) % 3:
        what = f"{len(words)} words, no whole number of triples `label confidence mask`"
        findings.add("number of words", row, what)
        return
    number_of, numbers = {}, {}  # of each text, and of each mask: 1 for the row's first; texts may differ in zlib alone
    pairs = set()
    for label, confidence, mask in zip(words[0::3], words[1::3], words[2::3], strict=True):
        if label not in LABELS:
            findings.add("label", row, f"label {shortened(label)} is no class number 0…{N_CLASSES - 1}")
        if not (NUMBER.fullmatch(confidence) and 0 <= float(confidence) <= 1):
            findings.add("confidence", row, f"confidence {shortened(confidence)} is no number in [0, 1]")
        elif label in LABELS:
            confidences[LABELS[label]].append(float(confidence))
        if size is None:
            continue
        if mask not in number_of:  # a cell's mask comes once for each class
            counts = _read_mask(findings, row, mask, size)
            number_of[mask] = counts and numbers.setdefault(counts, len(number_of) + 1)
        pair = (number_of[mask], label)
        if pair[0] and pair in pairs:
            findings.add("same mask and class", row, f"class {shortened(label)} twice for mask {pair[0]} of the row")
        pairs.add(pair)
    if numbers:
        _check_cells(findings, row, numbers, size)


def _read_mask(findings: Findings, row: int, text: str, size: tuple[int, int]) -> bytes | None:
    """COCO counts of a mask, None if it is damaged or of another size."""
    try:
        counts = masks.text_to_counts(text)
    except ValueError as error:
        findings.add("damaged mask", row, str(error))
        return None
    try:
        masks.check_counts(counts, *size)
    except ValueError as error:
        findings.add("size of a mask", row, str(error))
        return None
    return counts


def _check_cells(findings: Findings, row: int, numbers: dict[bytes, int], size: tuple[int, int]) -> None:
    """Find empty and overlapping masks of a field, given by their counts and told by their numbers.

    Notes
    -----
    A mask A hits the true cell S only if IoU ≥ 0.6, and then at most 0.4 |A| of its pixels lie outside S. Where A and
    B overlap, each pixel is outside S or outside T, another true cell, which does not overlap S. So both can hit only
    if |A ∩ B| ≤ 0.4 (|A| + |B|), which is IoU(A, B) ≤ 2/3.
    """
    rles = [{"size": list(size), "counts": counts} for counts in numbers]
    numbers = list(numbers.values())
    areas = coco.area(rles).astype(float)
    for place in np.flatnonzero(areas == 0):
        findings.add("empty mask", row, f"mask {numbers[place]} of the row has no pixel")
    slight, most = 0, 0.0
    for start in range(0, len(rles), BLOCK):
        iou = np.triu(coco.iou(rles[start : start + BLOCK], rles[start:], [0] * (len(rles) - start)), k=1)
        for first, second in np.argwhere(iou > 0):
            pair, own = [start + first, start + second], iou[first, second]
            if own > OVERLAP:
                names = " and ".join(str(numbers[place]) for place in pair)
                findings.add("overlap", row, f"masks {names} of the row overlap by IoU {own:.2f}, above {OVERLAP:.2f}")
            else:
                shared = own / (1 + own) * areas[pair].sum()
                slight, most = slight + 1, max(most, shared / areas[pair].min())
    if slight:
        what = f"{slight:,} pairs of masks overlap, at most by {most:.1%} of the smaller"
        findings.add("slight overlap", row, what)


def _check_confidences(findings: Findings, confidences: list[array]) -> None:
    every = np.concatenate(confidences)
    if not every.size:
        return
    never = [str(label) for label, values in enumerate(confidences) if not values]
    if never:
        findings.add("class never predicted", 0, f"{len(never)} classes are never predicted: {', '.join(never)}")
    if every.size > 1 and every.min() == every.max():
        findings.add("equal confidences", 0, f"all {every.size:,} confidences of the file are {every[0]:g}")
        return
    for label, values in enumerate(confidences):
        values = np.array(values)
        if label == NEGATIVE:
            values = values[values != float(NO_CELLS_CONFIDENCE)]  # fields without cells
        repeats = np.unique(values, return_counts=True)[1]
        tied = int(repeats[repeats > 1].sum())
        if len(values) < JUDGED or tied < FEW_TIES * len(values):
            continue
        if len(repeats) == 1:
            findings.add("equal confidences", 0, f"all {tied:,} confidences of class {label} are {values[0]:g}")
        else:
            what = f"{tied / len(values):.0%} of the {len(values):,} confidences of class {label} are not alone"
            findings.add("ties" if tied >= TIES * len(values) else "few ties", 0, what)
