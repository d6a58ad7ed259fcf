"""What arrays hold, checked where a caller hands them in: of another kind they give wrong results instead of errors."""

import numpy as np


def check_pixels(pixels: np.ndarray, what: str, axes: int = 3, channels: int = 4) -> None:
    """Raise TypeError unless the array is uint8 with so many axes, the last the channels."""
    if _kind(pixels, axes) != "u" or pixels.dtype != np.uint8 or pixels.shape[-1] != channels:
        remedy = "scale them to 0…255, round, and convert by .astype(numpy.uint8)"
        _refuse(pixels, what, f"uint8 with {axes} axes, the last of {channels} channels; {remedy}")


def check_mask(mask: np.ndarray) -> None:
    """Raise TypeError unless the array is the mask of one cell, (H, W), bool or integers 0 and 1."""
    kind = _kind(mask, 2)
    if kind != "b" and not (kind in ("i", "u") and np.isin(mask, (0, 1)).all()):
        _refuse(mask, "mask", "bool (H, W); compare first, such as probabilities > 0.5, labels == number, grey > 0")


def check_labels(labels: np.ndarray, what: str, shape: tuple | None = None) -> None:
    """Raise TypeError unless the array is an image of integers, and of that shape if one is given."""
    if _kind(labels, 2) not in ("i", "u") or shape not in (None, labels.shape):
        _refuse(
            labels, what, f"integers of {size_text(shape or 'HW')}, 0 background, and each cell a number of its own"
        )


def _kind(array, axes):
    return array.dtype.kind if isinstance(array, np.ndarray) and array.ndim == axes else ""


def _refuse(array, what, expected):
    found = f"{array.dtype} of {size_text(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
    raise TypeError(f"{what}: found {found}; expected {expected}")


def size_text(shape) -> str:
    """A shape for people: 96 × 128."""
    return " × ".join(map(str, shape))
