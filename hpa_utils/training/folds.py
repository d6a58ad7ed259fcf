"""Folds of fields in which every class is spread evenly and what belongs together stays together."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hpa_utils.dataset import check_ids, read_csv
from hpa_utils.duplicates import DISTANCE, near_duplicates
from hpa_utils.tables import label_matrix

RARE = (11, 18)  # Mitotic spindle and Negative: 78 and 34 fields of the competition
LEAST_RARE = 5  # fields of each that every fold should have


def split_fields(fields: pd.DataFrame, folds: int, seed: int, samples: str = "") -> np.ndarray:
    """Fold of each field of a field table: `assign_folds` with the groups of `field_groups`.

    Parameters
    ----------
    fields : pandas.DataFrame
    folds, seed : int
    samples : str
        Path of a CSV ``ID,sample``; empty: only near-duplicates are kept together, and it is said what that means.
    """
    groups = field_groups(fields, read_samples(samples) if samples else None)
    if not samples:
        print("no table of samples: fields of one sample may be in two folds, and scores out of fold optimistic")
    return assign_folds(label_matrix(fields), folds, seed, groups)


def assign_folds(labels: np.ndarray, folds: int, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Assign each field to a fold.

    Parameters
    ----------
    labels : numpy.ndarray
        int8 (n, 19), −1 where unknown.
    folds : int
    seed : int
    groups : numpy.ndarray, optional
        int (n,): fields of one number go to one fold (`field_groups`). A group counts as one field that has the
        labels of all its fields.

    Returns
    -------
    numpy.ndarray
        int (n,), 0…folds − 1; all −1 (no validation) where there are fewer than 2 × folds fields, or fewer groups
        than folds. Where classes 11 and 18 have 5 × folds fields, each fold gets at least 5 of each, as far as the
        groups allow.

    Warns
    -----
    UserWarning
        What could not be done: too few fields, classes without a field, all fields with the same labels, too few
        fields of class 11 or 18.

    Notes
    -----
    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011), from the package iterative-stratification.
    """
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold  # not in Kaggle's image, carried as a wheel

    labels = (np.asarray(labels) > 0).astype(np.int8)
    assigned = np.full(len(labels), -1)
    groups = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if folds < 2 or len(labels) < 2 * folds:
        warnings.warn(f"{len(labels)} fields are too few for {folds} folds: no validation", stacklevel=2)
        return assigned
    n_groups = int(groups.max()) + 1
    if n_groups < folds:
        text = f"{len(labels)} fields form only {n_groups} groups, too few for {folds} folds: no validation"
        warnings.warn(text, stacklevel=2)
        return assigned
    for text in _shortcomings(labels, folds):
        warnings.warn(text, stacklevel=2)
    united = np.zeros((n_groups, labels.shape[1]), np.int8)
    np.maximum.at(united, groups, labels)
    of_group = np.zeros(n_groups, int)
    splitter = MultilabelStratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    for fold, (_, validation) in enumerate(splitter.split(united, united)):
        of_group[validation] = fold
    for number in RARE:
        _top_up(of_group, np.bincount(groups, labels[:, number], n_groups), folds)
    return of_group[groups]


def field_groups(fields: pd.DataFrame, samples: dict | None = None, distance: int = DISTANCE) -> np.ndarray:
    """Which fields belong together: near-duplicates, and fields of one sample.

    Parameters
    ----------
    fields : pandas.DataFrame
        `image_id` and `blue_hash` of the field table.
    samples : dict, optional
        Image ID → sample (`read_samples`). Without it, fields photographed in the same well may be in two folds, and
        scores out of fold may be optimistic.
    distance : int
        Bits up to which two hashes are near (`duplicates.near_duplicates`).

    Returns
    -------
    numpy.ndarray
        int (n,), group numbers from 0; what belongs to the same as a third belongs together.

    Raises
    ------
    ValueError
        If `samples` names none of the fields.
    """
    pairs = near_duplicates(fields["blue_hash"].tolist(), distance=distance)
    if samples is not None:
        position = pd.Series(np.arange(len(fields)))
        sample = fields["image_id"].map(samples).reset_index(drop=True)
        if sample.isna().all() and len(fields):
            raise ValueError(
                f"the table of samples has none of the {len(fields)} fields, such as {fields.iloc[0]['image_id']}"
            )
        first = position.groupby(sample).transform("first")[sample.notna()]
        pairs = np.concatenate([pairs, np.stack([first, position[sample.notna()]], axis=1).astype(np.int64)])
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(fields),) * 2)
    return connected_components(links, directed=False)[1]


def read_samples(path: str | Path) -> dict[str, str]:
    """Read a user's CSV ``ID,sample``: image ID → name of its sample.

    Raises
    ------
    FileNotFoundError
    ValueError
        If a column or all rows are missing, or an ID stands there twice.
    """
    table = read_csv(Path(path), ("ID", "sample"))
    check_ids(table["ID"], path)
    return {image_id: sample for image_id, sample in zip(table["ID"], table["sample"], strict=True) if sample.strip()}


def _shortcomings(labels: np.ndarray, folds: int) -> list[str]:
    counts, found = labels.sum(axis=0), []
    if (labels == labels[0]).all():
        found.append(f"all {len(labels)} fields have the same labels: nothing to tell apart")
    elif (counts == 0).any():
        absent = ", ".join(map(str, np.flatnonzero(counts == 0)))
        found.append(f"no field has class {absent}: it cannot be learned or validated")
    few = [f"{number} ({counts[number]} fields)" for number in RARE if 0 < counts[number] < LEAST_RARE * folds]
    if few:
        found.append(f"too few for {LEAST_RARE} fields in each of {folds} folds: class {', '.join(few)}")
    return found


def _top_up(of_group: np.ndarray, counts: np.ndarray, folds: int) -> None:
    """Move groups, in place, until each fold has its least number of fields of a class; `counts` are those of groups.

    Stratification counts groups, so a fold may be short of fields where some groups are large.
    """
    per_fold = np.bincount(of_group, counts, folds)
    while per_fold.min() < LEAST_RARE <= counts.sum() / folds:
        poor, rich = per_fold.argmin(), per_fold.argmax()
        movable = np.flatnonzero((of_group == rich) & (counts > 0) & (per_fold[rich] - counts > per_fold[poor]))
        if not movable.size:
            return
        of_group[movable[counts[movable].argmin()]] = poor
        per_fold = np.bincount(of_group, counts, folds)
