"""The 19 classes of the competition and their label strings."""

import warnings

import numpy as np

CLASS_NAMES = (
    "Nucleoplasm",
    "Nuclear membrane",
    "Nucleoli",
    "Nucleoli fibrillar center",
    "Nuclear speckles",
    "Nuclear bodies",
    "Endoplasmic reticulum",
    "Golgi apparatus",
    "Intermediate filaments",
    "Actin filaments",
    "Microtubules",
    "Mitotic spindle",
    "Centrosome",
    "Plasma membrane",
    "Mitochondria",
    "Aggresome",
    "Cytosol",
    "Vesicles and punctate cytosolic patterns",
    "Negative",
)
N_CLASSES = len(CLASS_NAMES)
NEGATIVE = 18


def parse_labels(text: str) -> np.ndarray:
    """Turn a label string such as ``"16|0"`` into a vector, uint8 (19,), 1 where the class is named.

    A repeated number counts once. Raises ValueError if `text` is empty or a part of it no integer 0…18; warns if 18
    (Negative) stands beside other classes, all of which are kept.
    """
    vector = np.zeros(N_CLASSES, np.uint8)
    for part in str(text).split("|"):
        number = part.strip()
        if not (number.isascii() and number.isdigit() and int(number) < N_CLASSES):
            raise ValueError(f"label {text!r}: {part!r} is no class number 0…{N_CLASSES - 1}; join classes with '|'")
        vector[int(number)] = 1
    if vector[NEGATIVE] and vector.sum() > 1:
        warnings.warn(f"label {text!r}: 18 (Negative) beside other classes; kept as it is", stacklevel=2)
    return vector


def format_labels(vector: np.ndarray) -> str:
    """Turn a vector (19,) into a label string: the inverse of `parse_labels`, classes in ascending order."""
    return "|".join(str(number) for number in np.flatnonzero(np.asarray(vector) > 0))
