"""Folds of fields in which every class is spread evenly."""

import warnings

import numpy as np


def assign_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Assign each field to a fold.

    Parameters
    ----------
    labels : numpy.ndarray
        int8 (n, 19).
    folds : int
    seed : int

    Returns
    -------
    numpy.ndarray
        int (n,), 0…folds − 1; all −1 (no validation, with a warning) where there are fewer than 2 × folds fields.

    Notes
    -----
    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011), from the package iterative-stratification.
    """
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold  # not in Kaggle's image, carried as a wheel

    assigned = np.full(len(labels), -1)
    if folds < 2 or len(labels) < 2 * folds:
        warnings.warn(f"{len(labels)} fields are too few for {folds} folds: no validation", stacklevel=2)
        return assigned
    splitter = MultilabelStratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    for fold, (_, validation) in enumerate(splitter.split(labels, labels)):
        assigned[validation] = fold
    return assigned
