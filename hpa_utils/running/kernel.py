"""The kernel of a notebook: this very Python, in an environment of its own. Run as a module, it is that kernel."""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from traitlets.config import Config

from hpa_utils.paths import REPOSITORY
from hpa_utils.running.environment import clean_environment

# Training on a CPU frees and asks for the same large blocks at every step. The C library would give them back to the
# system each time, which fills them with zeros anew: a third of the time of the demo's training.
KEEP_MEMORY = {"TF_CPU_ALLOCATOR_USE_BFC": "true", "MALLOC_MMAP_THRESHOLD_": str(2**25)}
KEEP_MEMORY |= {"MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_TOP_PAD_": str(2**26)}


class NotebookKernel(AsyncKernelManager):
    """Starts the kernel. A kernelspec called python3, which papermill would take, may be of another Python."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-P", "-m", "hpa_utils.running.kernel", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")

    async def start_kernel(self, **options) -> None:
        options["env"] = _kernel_environment(Path(self.connection_file).parent)
        await super().start_kernel(**options)


@contextlib.contextmanager
def kernel_channels() -> Iterator[Config]:
    """Where a kernel is talked to: sockets in a folder of their own, which others cannot listen to; else TCP ports."""
    short = "/tmp" if os.access("/tmp", os.W_OK) else None  # TMPDIR may be too long for the path of a socket
    with tempfile.TemporaryDirectory(dir=short, ignore_cleanup_errors=True) as folder:
        sockets = {"transport": "ipc", "ip": f"{folder}/kernel"} if short else {}
        yield Config({"KernelManager": {"connection_file": f"{folder}/kernel.json", **sockets}})


def _kernel_environment(folder: Path) -> dict[str, str]:
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
