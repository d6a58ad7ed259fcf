"""Import Keras, and with it its backend, in silence.

TensorFlow's C++ writes some lines on oneDNN and missing CUDA drivers to the error stream whenever it is loaded, and
no variable turns them off. They look like trouble in a notebook, and are none.
"""

import contextlib
import os


@contextlib.contextmanager
def silent_errors():
    """Send what the process writes to its error stream, C++ included, nowhere."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with silent_errors():
    import keras  # noqa: F401
