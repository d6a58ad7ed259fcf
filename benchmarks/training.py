"""How much of training's time goes into the network: `python benchmarks/training.py [--turns 5]`.

Steps a second of the whole loop (bags read from disk, crops decoded, augmented, the network updated) as a ratio to
the same model on one batch that stays in memory, in turns within one run; crops a second that the input pipeline
makes when nothing eats them, as a multiple of what the model eats; and the process's memory over many epochs.
Lite0, all blocks trained, crops of 96 px, a cell of 32 fields a step (04's defaults), simulated fields.
"""

import argparse
import itertools
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import psutil
import tensorflow as tf

from hpa_simulator import write_dataset
from hpa_utils.crops import Bags, BagSampler
from hpa_utils.crops.batches import training_batches, training_dataset
from hpa_utils.model import unfreeze
from hpa_utils.running.notebooks import run_notebooks
from hpa_utils.training import Recipe
from hpa_utils.training.fit import build_model, compile_model

FIELDS, SIZE = 64, 96
STEPS, EPOCHS = 40, 20  # of a turn; short epochs over which memory is watched
CORES = len(os.sched_getaffinity(0))


def main() -> None:
    """Print the ratios and the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    versions = f"Python {platform.python_version()}, tensorflow {tf.__version__}, keras {keras.__version__}"
    with tempfile.TemporaryDirectory() as folder:
        bags = make_bags(Path(folder))
        recipe = Recipe()
        own = recipe.training
        sampler = BagSampler(np.arange(len(bags)), bags.counts, own.cells_per_bag, own.bags_per_batch, seed=0)
        model, _ = build_model(recipe, SIZE)
        unfreeze(model.get_layer("backbone"), 1.0)
        compile_model(model, 1e-5, own)
        from_disk = training_dataset(bags, sampler, SIZE)
        in_memory = tf.data.Dataset.from_tensors(next(iter(from_disk))).repeat()
        fit(model, in_memory, 5)  # traced and warm
        rows = [(fit(model, from_disk, STEPS), fit(model, in_memory, STEPS)) for _ in range(turns)]
        cells = own.cells_per_bag * own.bags_per_batch
        eaten = statistics.median(memory for _, memory in rows) * cells
        made = {
            "NumPy": rate(iter(training_batches(bags, sampler, SIZE)), STEPS) * cells,
            "tf.data": rate(iter(from_disk), STEPS) * cells,
        }
        print(f"{CORES} cores, no GPU, {versions}")
        ratios = [disk / memory for disk, memory in rows]
        print(f"whole loop / batch in memory: {spread(ratios)}, {turns} turns of {STEPS} steps")
        print(f"crops a second that the model eats: {eaten:.0f}")
        for name, crops in made.items():
            print(f"the {name} pipeline alone makes {crops / eaten:.1f} × as many")
        print("memory after each of the last epochs, MB:", *watch_memory(model, from_disk))


def make_bags(folder: Path) -> Bags:
    """Bags of simulated fields."""
    data = write_dataset(folder / "data", FIELDS, 1, 512, seed=0)
    run_notebooks(str(data), str(folder / "out"), "02,03", segmenter="masks", assignments=(f"03.size={SIZE}",))
    return Bags(folder / "out" / "03_cell_crops" / "bags", "train")


def fit(model: keras.Model, batches: tf.data.Dataset, steps: int) -> float:
    """Steps a second; the first, which begins the pipeline, is not counted."""
    clock = StepClock()
    model.fit(batches, steps_per_epoch=steps + 1, verbose=0, callbacks=[clock])
    return steps / (clock.ends[-1] - clock.ends[0])


class StepClock(keras.callbacks.Callback):
    """When each step ended, s."""

    def __init__(self):
        super().__init__()
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())


def rate(batches, steps: int) -> float:
    """Batches a second, those that were made ahead of time not counted."""
    for _ in itertools.islice(batches, 8):
        pass
    begun = time.perf_counter()
    for _ in itertools.islice(batches, 4 * steps):
        pass
    return 4 * steps / (time.perf_counter() - begun)


def watch_memory(model: keras.Model, batches: tf.data.Dataset) -> list[int]:
    """Resident memory of the process after each of the last three quarters of short epochs, MB."""
    process, seen = psutil.Process(), []
    for _ in range(EPOCHS):
        model.fit(batches, steps_per_epoch=4, verbose=0)
        seen.append(round(process.memory_info().rss / 1e6))
    return seen[EPOCHS // 4 :]


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
