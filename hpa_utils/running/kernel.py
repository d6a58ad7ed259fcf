"""The environment that notebooks run in, whatever the caller's is; run as a module, this is a notebook's kernel."""

import logging
import os
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

from hpa_utils.paths import REPOSITORY

# Beginnings of variables that lose figures, open foreign configurations or stop a start. PYTHONPATH stays: with it
# people make modules known.
LEFT_OUT = ("JUPYTER_", "IPYTHON", "PAPERMILL_", "MPLBACKEND", "MATPLOTLIBRC", "PYTHONSTARTUP", "PYTHONWARNINGS")
LEFT_OUT += ("PYTHONIOENCODING", "PYTHONINSPECT", "PYTHONOPTIMIZE", "PYTHONVERBOSE", "PYTHONDEBUG", "PYTHONSAFEPATH")
# Training on a CPU frees and asks for the same large blocks at every step. The C library would give them back to the
# system each time, which fills them with zeros anew: a third of the time of the demo's training.
KEEP_MEMORY = {"TF_CPU_ALLOCATOR_USE_BFC": "true", "MALLOC_MMAP_THRESHOLD_": str(2**25)}
KEEP_MEMORY |= {"MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_TOP_PAD_": str(2**26)}


def clean_environment() -> dict[str, str]:
    """The caller's variables but those, and UTF-8 whatever the locale is."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
    return kept | {"PYTHONUTF8": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # a debugger's warning at kernel start


def kernel_environment(folder: Path) -> dict[str, str]:
    """For the kernel and its worker processes: this library, no IPython profile, Matplotlib as it is delivered."""
    own = KEEP_MEMORY | clean_environment()
    own["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), own.get("PYTHONPATH")]))
    own["IPYTHONDIR"] = str(folder / "ipython")
    own["MATPLOTLIBRC"] = str(Path(find_spec("matplotlib").origin).parent / "mpl-data" / "matplotlibrc")
    if not sys.stdout.isatty():
        own.setdefault("TQDM_MININTERVAL", "60")  # seconds: in a file every state of a progress bar stays
    return own


def _plain(message, *_, **__) -> str:
    """A warning without the temporary file that a cell's code has been read from."""
    return f"warning: {message}\n"


if __name__ == "__main__":
    from ipykernel.kernelapp import IPKernelApp

    warnings.formatwarning = _plain
    IPKernelApp.launch_instance(ignore_cwd=True, log_level=logging.CRITICAL)
