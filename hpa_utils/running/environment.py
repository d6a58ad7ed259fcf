"""What the caller's environment does not decide: how Python, Jupyter and Matplotlib start, and who else runs here."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

# Beginnings of variables that lose figures, open foreign configurations or stop a start. PYTHONPATH stays: with it
# people make modules known.
LEFT_OUT = ("JUPYTER_", "IPYTHON", "PAPERMILL_", "MPLBACKEND", "MATPLOTLIBRC", "PYTHONSTARTUP", "PYTHONWARNINGS")
LEFT_OUT += ("PYTHONIOENCODING", "PYTHONINSPECT", "PYTHONOPTIMIZE", "PYTHONVERBOSE", "PYTHONDEBUG", "PYTHONSAFEPATH")
ALONE = "HPA_RUN_ALONE"  # set for children that train one model each, while their parent holds the output root


def clean_environment() -> dict[str, str]:
    """The caller's variables but those, and UTF-8 whatever the locale is."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
    return kept | {"PYTHONUTF8": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # a debugger's warning at kernel start


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Make a folder and hold it for this process while the block runs.

    The operating system lets go of it when the process ends, also when it is killed.

    Raises RuntimeError if another process holds it, naming that one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(20).decode(errors="replace").strip()
            who = f"process {holder}" if holder else "another process"
            message = f"{folder} is being worked on by {who}: wait for its end, or take another output root"
            raise RuntimeError(message) from None
        except OSError:
            pass  # a network disk without locks
        with contextlib.suppress(OSError):  # on a full disk; what is to be written later says so
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        yield
