"""Child processes: for work on other cores, and for a field that may take its whole process with it."""

import contextlib
import os
import pickle
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable
from multiprocessing import connection, get_context, parent_process

import cv2

THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def in_child(function: Callable, *arguments):
    """`function` of the arguments, worked out in a fresh process.

    Parameters
    ----------
    function : callable
        Importable by name; it, the arguments and the result are pickled.

    Raises
    ------
    ChildLost
        If the process ends without a result, as when memory runs out or a broken file crashes a decoder.
    Exception
        Whatever `function` raises.
    """
    with contextlib.closing(Child()) as child:
        child.send(function, *arguments)
        return child.result()


class ChildLost(OSError):
    """A child process ended in the middle of its work."""


class Child:
    """A fresh Python process that calls one function after the other; it ends with this process.

    Attributes
    ----------
    connection : multiprocessing.connection.Connection
        What `multiprocessing.connection.wait` takes: ready when `result` will not block.
    """

    def __init__(self):
        # spawn: a forked child would inherit the threads' locks of whatever the notebook has imported
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with fit_for_children():
            self.process.start()
        theirs.close()  # else a lost child would not end the connection

    def send(self, function: Callable, *arguments) -> None:
        """Begin a call; `result` has to be taken before the next."""
        payload = pickle.dumps((function, arguments))
        with contextlib.suppress(OSError):  # a child already lost: `result` says so
            self.connection.send_bytes(payload)

    def result(self):
        """Wait for what the call returns, or raise what it raises."""
        try:
            answer = self.connection.recv_bytes()
        except (EOFError, OSError):
            self.process.join()
            raise ChildLost(
                f"its process ended without a word, exit code {self.process.exitcode}: out of memory, or a file that "
                "crashes its decoder"
            ) from None
        value, error, trace = pickle.loads(answer)
        if error is None:
            return value
        error.add_note(f"In the child process:\n{trace}")
        raise error

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.process.terminate()
        self.process.join()
        self.connection.close()


@contextlib.contextmanager
def fit_for_children():
    """How this process has to look while it starts others.

    The running script is hidden. They would import it again, which starts over a script without
    ``if __name__ == "__main__"`` and fails for one read from standard input; they need nothing of it.
    And libraries are told to use one thread, since all cores will be busy.
    """
    script, counts = sys.modules["__main__"], [name for name in THREAD_COUNTS if name not in os.environ]
    sys.modules["__main__"] = types.ModuleType("__main__")
    os.environ.update(dict.fromkeys(counts, "1"))
    try:
        yield
    finally:
        sys.modules["__main__"] = script
        for name in counts:
            del os.environ[name]


def _serve(pipe) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the parent, which ends its children
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(0)
    while True:
        try:
            payload = pipe.recv_bytes()
        except EOFError:
            return
        pipe.send_bytes(_answer(payload))


def _answer(payload: bytes) -> bytes:
    """Pickled: the result, or the error and where it was raised."""
    try:
        function, arguments = pickle.loads(payload)
        return pickle.dumps((function(*arguments), None, ""))
    except Exception as error:
        return pickle.dumps((None, _sendable(error), traceback.format_exc()))


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    connection.wait([parent_process().sentinel])
    os._exit(1)
