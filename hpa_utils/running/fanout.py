"""Independent work over fields, in this process or on all cores."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import cv2
from tqdm import tqdm


def fanout(function: Callable, parts: Sequence, workers: int = 0, unit: str = "field") -> list:
    """Call `function` on every part and return the results in the order of the parts.

    Parameters
    ----------
    function : callable
        Importable by name, so that it can be sent to another process.
    parts : sequence
        ``len(part)`` is how far the progress bar moves when a part is done.
    workers : int
        Processes; 0 for one a core, 1 for this process alone (what a GPU segmenter needs).

    Raises
    ------
    Exception
        Whatever `function` raises, after the parts under way have ended; parts already written stay.
    """
    workers = min(workers or os.cpu_count() or 1, len(parts))
    results = [None] * len(parts)
    with tqdm(total=sum(map(len, parts)), unit=unit, mininterval=5, file=sys.stdout) as bar:
        if workers <= 1:
            for number, part in enumerate(parts):
                results[number] = function(part)
                bar.update(len(part))
            return results
        # spawn: a forked child would inherit the threads' locks of whatever the notebook has imported
        with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (0,)) as pool:
            futures = {pool.submit(function, part): number for number, part in enumerate(parts)}
            try:
                for future in as_completed(futures):
                    results[futures[future]] = future.result()
                    bar.update(len(parts[futures[future]]))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return results
