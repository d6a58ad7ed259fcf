"""Folds of fields in which every class is spread evenly and what belongs together stays together."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hpa_utils.csv_files import read_csv
from hpa_utils.dataset import check_ids
from hpa_utils.images import near_duplicates
from hpa_utils.paths import find_beside
from hpa_utils.tables import label_matrix


def split_fields(fields: pd.DataFrame, n_folds: int, seed: int, groups_csv: str | Path | None) -> np.ndarray:
    """Fold of each field of a field table: `assign_folds` with the groups of `field_groups`.

    `groups_csv` is the path of a CSV ``ID,sample`` (`find_samples`), to keep fields of one sample in one fold; empty
    or None: only near-duplicates are kept together.
    """
    groups = field_groups(fields, read_samples(groups_csv) if groups_csv else None)
    return assign_folds(label_matrix(fields), n_folds, seed, groups)


def find_samples(root: str | Path) -> Path | None:
    """The ``samples.csv`` of a data set, which says what fields are of one sample; None where it has none."""
    path = find_beside(root, "samples.csv")
    return path if path.is_file() else None


def assign_folds(labels: np.ndarray, folds: int, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Assign each field to a fold, every class spread evenly.

    `labels` are int8 (n, 19), −1 where unknown. Fields of one number in `groups`, int (n,), go to one fold
    (`field_groups`); a group counts as one field that has the labels of all its fields. The folds, int (n,), are
    0…folds − 1; all −1 (no validation) where there are fewer than 2 × folds fields, or fewer groups than folds. That
    is a UserWarning, as are classes without a field, and fields that all have the same labels.

    Source: iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011), from the package iterative-stratification.
    """
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold  # not in Kaggle's image, carried as a wheel

    labels = (np.asarray(labels) > 0).astype(np.int8)
    groups = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_groups = len(np.unique(groups))
    enough = folds >= 2 and len(labels) >= 2 * folds
    if not enough or n_groups < folds:
        few = f"form only {n_groups} groups," if enough else "are"
        warnings.warn(f"{len(labels)} fields {few} too few for {folds} folds: no validation", stacklevel=2)
        return np.full(len(labels), -1)
    absent = ", ".join(map(str, np.flatnonzero(labels.sum(axis=0) == 0)))
    if (labels == labels[0]).all():
        warnings.warn(f"all {len(labels)} fields have the same labels: nothing to tell apart", stacklevel=2)
    elif absent:
        warnings.warn(f"no field has class {absent}: it cannot be learned or validated", stacklevel=2)
    united = np.zeros((n_groups, labels.shape[1]), np.int8)
    np.maximum.at(united, groups, labels)
    of_group = np.zeros(n_groups, int)
    splitter = MultilabelStratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    for fold, (_, validation) in enumerate(splitter.split(united, united)):
        of_group[validation] = fold
    return of_group[groups]


def field_groups(fields: pd.DataFrame, samples: dict | None = None) -> np.ndarray:
    """Number of the group of each field, int (n,): near-duplicates, and fields of one sample, are one group.

    `samples` maps image IDs to samples (`read_samples`). Without it, fields photographed in the same well may be in two
    folds, and scores out of fold may be optimistic. Raises ValueError if it names none of the fields.
    """
    pairs = near_duplicates(fields["blue_hash"].tolist())
    if samples is not None:
        position = pd.Series(np.arange(len(fields)))
        sample = fields["image_id"].map(samples).reset_index(drop=True)
        if sample.isna().all() and len(fields):
            raise ValueError(
                f"the table of samples (`groups_csv`) has none of the {len(fields)} fields, "
                f"such as {fields.iloc[0]['image_id']}"
            )
        first = position.groupby(sample).transform("first")[sample.notna()]
        pairs = np.concatenate([pairs, np.stack([first, position[sample.notna()]], axis=1).astype(np.int64)])
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(fields),) * 2)
    return connected_components(links, directed=False)[1]


def read_samples(path: str | Path) -> dict[str, str]:
    """Read a user's CSV ``ID,sample``: image ID → name of its sample.

    Raises FileNotFoundError, or ValueError if a column or all rows are missing, or an ID stands there twice.
    """
    table = read_csv(path, ("ID", "sample"))
    check_ids(table["ID"], path)
    return {image_id: sample for image_id, sample in zip(table["ID"], table["sample"], strict=True) if sample.strip()}
