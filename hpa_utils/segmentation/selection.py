"""Which segmenter a run uses."""

import importlib.util
import sys
import warnings
from pathlib import Path

from hpa_utils.paths import find_inputs
from hpa_utils.segmentation.hpacellseg import HPACellSegmenter
from hpa_utils.segmentation.reference import ReferenceMasks
from hpa_utils.segmentation.watershed import WatershedSegmenter

SEGMENTERS = ("auto", "hpacellseg", "watershed", "masks")
NUCLEI_WEIGHTS, CELL_WEIGHTS = "dpn_unet_nuclei_v1.pth", "dpn_unet_cell_3ch_v1.pth"


def choose_segmenter(name: str, pixel_size: float, masks: str | Path, weights: str | Path = "", sha256: str = ""):
    """The segmenter called `name`, ready to use.

    Parameters
    ----------
    name : {"auto", "hpacellseg", "watershed", "masks"}
        ``auto`` takes hpacellseg where PyTorch, pytorch_zoo (the networks' classes) and the weights are found,
        else the watershed with a warning.
    pixel_size : float
        µm per px.
    masks : path
        Folder of masks, for ``masks``.
    weights : path
        Folder of hpacellseg's two ``.pth`` files; empty: looked for among Kaggle's inputs.
    sha256 : str
        Their two SHA-256, nuclei first, separated by a comma, where they have to be unpickled.

    Returns
    -------
    (str, segmenter)
        The name of the segmenter it came to, and the segmenter.
    """
    if name not in SEGMENTERS:
        raise ValueError(f"segmenter {name!r} is unknown; there are {', '.join(SEGMENTERS)}")
    if name == "masks":
        return name, ReferenceMasks(Path(masks), pixel_size)
    nuclei, cells = (_find_weights(weights, file) for file in (NUCLEI_WEIGHTS, CELL_WEIGHTS))
    _find_attached("pytorch_zoo")
    if name == "auto":
        lacking = [package for package in ("torch", "pytorch_zoo") if importlib.util.find_spec(package) is None]
        lacking += [path.name for path in (nuclei, cells) if not path.is_file()]
        name = "watershed" if lacking else "hpacellseg"
        if lacking:
            warnings.warn(
                f"no hpacellseg ({', '.join(lacking)} not found): cells come from the watershed; the competition's "
                "truth was made from hpacellseg's masks",
                stacklevel=2,
            )
    if name == "watershed":
        return name, WatershedSegmenter(pixel_size)
    hashes = tuple(part.strip() for part in sha256.split(",")) if sha256 else None
    return name, HPACellSegmenter.from_files(nuclei, cells, sha256=hashes, pixel_size=pixel_size)


def _find_attached(package: str) -> None:
    """Make a package importable whose source is attached on Kaggle, where nothing can be installed by hand."""
    attached = [folder for folder in find_inputs(package) if (folder / "__init__.py").is_file()]
    if attached and importlib.util.find_spec(package) is None:
        sys.path.append(str(attached[0].parent))


def _find_weights(folder: str | Path, file: str) -> Path:
    found = [] if folder else find_inputs(file)
    return found[0] if found else Path(folder) / file
