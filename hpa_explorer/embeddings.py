"""Each cell as the vector that the head sees: kept in a table, drawn as a map, compared with other cells."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from tqdm import tqdm

from hpa_utils import tables
from hpa_utils.crop_sets import CropSet
from hpa_utils.inference import predict_logits
from hpa_utils.model import keras

STEP = 1024  # cells between two movements of the progress bar
NEIGHBOURS = 15  # of UMAP, its default: how many near cells make up a neighbourhood


def embedding_network(network: keras.Model) -> keras.Model:
    """The network up to where its head begins: the same inputs, vectors (N, d).

    The head is the layer called ``head``, or else the last dense layer.

    Raises
    ------
    ValueError
        If the network has neither.
    """
    heads = [layer for layer in network.layers if layer.name == "head"]
    heads = heads or [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    if not heads:
        raise ValueError(f"{network.name} has no dense layer: call the layer that gives its logits 'head'")
    return keras.Model(network.inputs, heads[-1].input, name="embedding")


def embed_cells(
    network: keras.Model, crops: CropSet, percentiles: np.ndarray, cells: np.ndarray, batch_size: int = 64
) -> np.ndarray:
    """What the head of a network sees of each cell, float32 (len(cells), d).

    Parameters
    ----------
    network, crops, percentiles, cells, batch_size
        As of `predict_logits`.
    """
    net = embedding_network(network)
    vectors = np.zeros((len(cells), net.output_shape[-1]), np.float32)
    with tqdm(total=len(cells), unit="cell", mininterval=5, file=sys.stdout, disable=not len(cells)) as progress:
        for start in range(0, len(cells), STEP):
            some = slice(start, start + STEP)
            vectors[some] = predict_logits(net, crops, percentiles, cells[some], batch_size)
            progress.update(len(cells[some]))
    return vectors


def write_embeddings(path: str | Path, keys: pd.DataFrame, vectors: np.ndarray, fingerprint: str) -> None:
    """Write vectors of cells as columns `e0000`…; `tables.read_keyed` reads them.

    Parameters
    ----------
    path : path
        Of the Parquet file; it appears in one rename when it is whole.
    keys : pandas.DataFrame
        `image_id` and `cell_id`, n rows.
    vectors : numpy.ndarray
        float32 (n, d).
    fingerprint : str
        Of the cell table that the cells come from (`tables.cells_fingerprint`).
    """
    columns = [f"e{number:04d}" for number in range(vectors.shape[1])]
    table = pd.concat([keys.reset_index(drop=True), pd.DataFrame(vectors, columns=columns)], axis=1)
    tables.write_keyed(path, table, fingerprint)


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
        int64 (k,), the most similar first; ties in their order.
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
