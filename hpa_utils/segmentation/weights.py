"""hpacellseg's ``.pth`` files: whole pickled networks, loaded without running whatever code a file may hold."""

import contextlib
import hashlib
import importlib
import io
import pickle
from pathlib import Path

WEIGHTS_FROM = "get it from https://zenodo.org/record/4665863 or rdizzl3/hpacellsegmentatormodelweights on Kaggle"
PACKAGES_FROM = (
    "HPACellSegmenter needs: pip install torch torchvision, and for the published weights the package of "
    "git+https://github.com/haoxusci/pytorch_zoo (the way in requirements-hpacellseg.txt; on Kaggle attach a data "
    "set with its source)"
)


def import_torch():
    """PyTorch.

    Raises
    ------
    ImportError
        Saying what to install.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise ImportError(PACKAGES_FROM) from error


def load_net(path: Path, sha256: str | None):
    """The network in a ``.pth`` file.

    PyTorch is asked to load it with ``weights_only=True`` and an allow-list of the networks' classes. Where it
    refuses, the file is unpickled only if its SHA-256 is `sha256`, and the reason is printed.

    Raises
    ------
    ValueError
        If the file would have to be unpickled and the hash is another, or none was given.
    ImportError
        If a package of the network's classes is missing.
    TypeError
        If the file holds no network.
    """
    torch = import_torch()
    data = path.read_bytes()  # once, so that what is hashed is what is loaded
    try:
        with torch.serialization.safe_globals(_layers(torch)):
            net = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as reason:  # whatever PyTorch dislikes; the hash decides
        net = _unpickle(torch, path, data, sha256, reason)
    if not isinstance(net, torch.nn.Module):
        raise TypeError(f"{path} holds {type(net).__name__}, no network; {WEIGHTS_FROM}")
    return net


def _unpickle(torch, path, data, sha256, reason):
    why = str(reason).split("WeightsUnpickler error:")[-1].strip().partition("\n")[0]
    digest = hashlib.sha256(data).hexdigest()
    if digest != (sha256 or "").lower():
        raise ValueError(
            f"{path} does not load as plain weights ({why}), and unpickling it may run any code. Its SHA-256 is "
            f"{digest}, {sha256 or 'none'} was given: if that is the file you trust, pass "
            f'sha256={{"{path.name}": "{digest}"}} (in 02_segmentation: hpacellseg_sha256, nuclei first)'
        ) from reason
    print(f"{path.name}: unpickled, since its SHA-256 is the one given ({why})")
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        raise ImportError(f"{path.name} was made with {error.name}. {PACKAGES_FROM}") from error
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} is no file of torch.save: {error}; {WEIGHTS_FROM}") from error


def modernised(net):
    """The network, ready to predict; layers pickled by an old PyTorch get what today's expects of them."""
    torch = import_torch()
    net = net.module if isinstance(net, torch.nn.DataParallel) else net
    for layer in net.modules():
        if isinstance(layer, torch.nn.Upsample) and not hasattr(layer, "recompute_scale_factor"):
            layer.recompute_scale_factor = None  # since PyTorch 1.11
    return net.eval()


def _layers(torch):
    """The classes of which the networks are built: PyTorch's layers and, where installed, pytorch_zoo's."""
    modules = [torch.nn]
    with contextlib.suppress(ImportError):  # if the file is built of them, PyTorch will say what it misses
        modules += [importlib.import_module(f"pytorch_zoo.{name}") for name in ("unet", "dpn", "abstract_model")]
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return [value for value in classes if issubclass(value, torch.nn.Module)]
