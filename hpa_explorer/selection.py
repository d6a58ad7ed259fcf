"""Which fields, cells and classes are looked at closely."""

import numpy as np
import pandas as pd


def choose_fields(fields: pd.DataFrame, limit: int, seed: int, first: str = "") -> pd.DataFrame:
    """At most `limit` rows of the field table, drawn with `seed`, in their order; `first` comes first if it is given.

    Fields that could not be read are left out; those without cells are not.

    Raises
    ------
    ValueError
        If there is no field `first`.
    """
    read = fields[fields["error"] == ""].reset_index(drop=True)
    if first and first not in set(read["image_id"]):
        raise ValueError(f"there is no field {first!r} among the {len(read)} of this split that were read")
    drawn = np.random.default_rng(seed).permutation(len(read))
    wanted = np.flatnonzero(read["image_id"] == first)
    drawn = np.concatenate([wanted, drawn[~np.isin(drawn, wanted)]])[:limit]
    return read.iloc[np.concatenate([wanted[: len(drawn)], np.sort(drawn[len(wanted) :])]).astype(int)]


def richest_field(fields: pd.DataFrame, cells: pd.DataFrame, confidences: np.ndarray) -> str:
    """The field whose cells show the most different classes, each by its most probable one; then that of most cells.

    Parameters
    ----------
    fields, cells : pandas.DataFrame
        The fields to choose from; the cell table.
    confidences : numpy.ndarray
        float (n, 19) in the order of `cells`; NaN where not predicted.

    Returns
    -------
    str
        Its ID; empty if none of them has a predicted cell.
    """
    known = np.isfinite(confidences).all(axis=1) & cells["image_id"].isin(fields["image_id"]).to_numpy()
    if not known.any():
        return ""
    shown = pd.Series(confidences[known].argmax(axis=1)).groupby(cells["image_id"].to_numpy()[known])
    counts = pd.DataFrame({"classes": shown.nunique(), "cells": shown.size()})
    return counts.sort_values(["classes", "cells"], ascending=False, kind="stable").index[0]


def find_cell(table: pd.DataFrame, image_id: str, cell_id: int, confidences: np.ndarray) -> int:
    """Row of a cell in a table of cells; with `cell_id` 0 the cell of the field with the highest probability.

    Parameters
    ----------
    table : pandas.DataFrame
        `image_id`, `cell_id`.
    image_id, cell_id : str, int
    confidences : numpy.ndarray
        float (n, 19) in its order; NaN where not predicted.

    Raises
    ------
    ValueError
        If the field has no such cell in the table.
    """
    rows = np.flatnonzero(table["image_id"] == image_id)
    if not cell_id and len(rows):
        return int(rows[np.nan_to_num(confidences[rows]).max(axis=1).argmax()])
    found = rows[table["cell_id"].to_numpy()[rows] == cell_id]
    if not len(found):
        raise ValueError(f"field {image_id!r} has {len(rows)} cells here, none of them numbered {cell_id}")
    return int(found[0])


def probable_classes(confidences: np.ndarray, number: int) -> list[int]:
    """The classes by their highest probability in any cell, float (n, 19): at most `number`, the highest first."""
    highest = np.nan_to_num(confidences).max(axis=0, initial=0)
    return [int(label) for label in np.argsort(-highest, kind="stable")[:number] if highest[label] > 0]
