"""Each cell as the vector that the head sees: kept in a table, drawn as a map, compared with its like."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.decomposition import PCA
from tqdm import tqdm

from hpa_explorer.selection import KEYS
from hpa_utils import tables
from hpa_utils.crops.batches import cell_batches
from hpa_utils.crops.reading import Bags
from hpa_utils.model.backend import keras
from hpa_utils.model.pooling import Regroup
from hpa_utils.model.prediction import cell_keys, predict_batch, prepare_batch

GROUP = 4096  # cells a row group: 42 MB of float32 with Lite0's 2560 features
NEIGHBOURS = 15  # of UMAP, its default: how many cells near by make up a neighbourhood


def embed_bags(model: keras.Model, bags: Bags, numbers: np.ndarray, size: int, batch: int = 64) -> pd.DataFrame:
    """What the head sees of every cell of the given bags.

    Parameters
    ----------
    model : keras.Model
        A bag model (`build_bag_model`), with any backbone and pooling.
    bags : Bags
    numbers : numpy.ndarray
        Which bags; none give a table without rows.
    size : int
        Side of the crops, px.
    batch : int
        Cells a step.

    Returns
    -------
    pandas.DataFrame
        A row a cell, in the order of `predict_bags`: `image_id`, `cell_id` int64, `e0000`… float32.
    """
    return pd.concat([_empty(model), *_groups(model, bags, numbers, size, batch)], ignore_index=True)


def write_embeddings(
    path: str | Path,
    model: keras.Model,
    bags: Bags,
    numbers: np.ndarray,
    size: int,
    cells: pd.DataFrame,
    batch: int = 64,
) -> int:
    """Write the table of `embed_bags`, a row group of `GROUP` cells after the other; returns how many cells there are.

    Parameters
    ----------
    path : path-like
        Of the Parquet file; it appears in one rename when it is whole.
    cells : pandas.DataFrame
        The cell table that the bags were cut from; its fingerprint is stored, as `read_embeddings` checks it.
    model, bags, numbers, size, batch
        As of `embed_bags`.
    """
    schema = pa.Schema.from_pandas(_empty(model), preserve_index=False).remove_metadata()
    schema = schema.set(0, pa.field("image_id", pa.string()))  # no row tells what kind of object
    written, fingerprint = 0, tables.cells_fingerprint(cells)
    with tables.keyed_writer(path, schema, fingerprint, use_dictionary=["image_id"]) as writer:
        for group in _groups(model, bags, numbers, size, batch):
            writer.write_table(pa.Table.from_pandas(group, schema=schema, preserve_index=False))
            written += len(group)
    return written


def read_embeddings(path: str | Path, cells: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Read what `write_embeddings` wrote.

    Parameters
    ----------
    cells : pandas.DataFrame
        The cell table.

    Returns
    -------
    vectors : numpy.ndarray
        float32 (n, d).
    rows : numpy.ndarray
        int64 (n,), which rows of the cell table, counted from 0, they are of.

    Raises
    ------
    ValueError
        If the vectors belong to other cells (`tables.check_cells`).
    """
    table = tables.read_keyed(path, cells)
    places = pd.Series(np.arange(len(cells)), pd.MultiIndex.from_frame(cells[KEYS]))
    rows = places.reindex(pd.MultiIndex.from_frame(table[KEYS])).to_numpy(np.int64)
    return table.drop(columns=KEYS).to_numpy(np.float32), rows


def map_cells(vectors: np.ndarray, seed: int = 0) -> tuple[np.ndarray, str]:
    """Places on a plane where cells lie near those that are like them.

    UMAP (McInnes, Healy and Melville 2018) of the cosine distance where umap-learn is installed and there are enough
    cells for it, else the first two principal components of the vectors brought to length 1.

    Parameters
    ----------
    vectors : numpy.ndarray
        float (n, d).
    seed : int

    Returns
    -------
    places : numpy.ndarray
        float32 (n, 2).
    name : str
        ``"UMAP"`` or ``"PCA"``.
    """
    vectors = np.asarray(vectors, np.float32)
    if len(vectors) > NEIGHBOURS:
        try:
            from umap import UMAP
        except ImportError:
            pass
        else:
            mapping = UMAP(n_neighbors=NEIGHBOURS, metric="cosine", random_state=seed, n_jobs=1)
            return np.asarray(mapping.fit_transform(vectors), np.float32), "UMAP"
    return _principal_components(_of_length_1(vectors), seed), "PCA"


def nearest_cells(vectors: np.ndarray, row: int, number: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """The cells whose vectors point most nearly the way that a cell's own does.

    Parameters
    ----------
    vectors : numpy.ndarray
        float (n, d).
    row : int
        The cell, which is left out itself.
    number : int
        How many; all others where there are fewer.

    Returns
    -------
    rows : numpy.ndarray
        int64 (k,), the most similar first; of equals the first.
    similarities : numpy.ndarray
        float32 (k,), cosine, −1…1; 0 with a vector of zeros.

    Raises
    ------
    IndexError
        If there is no such row.
    """
    if not 0 <= row < len(vectors):
        raise IndexError(f"row {row} of {len(vectors)} cells; expected 0…{len(vectors) - 1}")
    vectors = _of_length_1(vectors)
    similarities = vectors @ vectors[row]
    order = np.argsort(-similarities, kind="stable")
    order = order[order != row][:number]
    return order, similarities[order]


def _groups(model: keras.Model, bags: Bags, numbers: np.ndarray, size: int, batch: int) -> Iterator[pd.DataFrame]:
    """The table of `embed_bags` in pieces of about `GROUP` cells, each of whole batches."""
    numbers = np.asarray(numbers, np.int64)
    net, columns = _embedding_model(model), _empty(model).columns[2:]
    steps, keys = -(-int(bags.counts[numbers].sum()) // batch), cell_keys(bags, numbers)
    vectors, start, last = [], 0, 0
    batches = cell_batches(bags, numbers, size, batch)
    for inputs in tqdm(batches, total=steps, unit="batch", mininterval=5, file=sys.stdout, disable=not steps):
        number = len(inputs["cells"])
        [[outputs]] = predict_batch([net], prepare_batch(inputs, filled=batch if steps > 1 else 0), number)
        vectors.append(outputs["vectors"].astype(np.float32))
        last += number
        if last - start >= GROUP or last == len(keys):
            group = pd.DataFrame(np.concatenate(vectors), columns=columns)
            yield pd.concat([keys[start:last].reset_index(drop=True), group], axis=1)
            vectors, start = [], last


def _embedding_model(model: keras.Model) -> keras.Model:
    """The bag model up to where the head begins: `vectors` (B, K, d) of the same inputs."""
    pooled = model.get_layer("average_and_max").output
    vectors = Regroup(name="vectors", dtype="float32")(pooled, model.get_layer("valid").output)
    return keras.Model(model.input, {"vectors": vectors}, name="embedding")


def _empty(model: keras.Model) -> pd.DataFrame:
    """The table's columns and their types, without rows."""
    width = model.get_layer("average_and_max").output.shape[-1]
    keys = {"image_id": np.zeros(0, object), "cell_id": np.zeros(0, np.int64)}
    return pd.DataFrame(keys | {f"e{number:04d}": np.zeros(0, np.float32) for number in range(width)})


def _of_length_1(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def _principal_components(vectors: np.ndarray, seed: int) -> np.ndarray:
    """The first two principal components, float32 (n, 2); 0 where there are fewer."""
    places = np.zeros((len(vectors), 2), np.float32)
    count = min(2, *vectors.shape)
    if len(vectors) > 1:
        places[:, :count] = PCA(count, random_state=seed).fit_transform(vectors)
    return places
