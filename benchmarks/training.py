"""How much of training's time goes into the network: `python benchmarks/training.py [--turns 5]`.

Steps a second of the whole loop (crops read from disk, decoded, augmented, the network updated) as a ratio to the same
model on one batch that stays in memory, in turns within one run; crops a second that the batches alone make, as a
multiple of what the model eats; and the process's memory over many epochs. Then the time of ten short epochs on the
batch in memory, streamed, as a ratio to the same given as a `PyDataset`; and, in processes of their own, the steps a
second with oneDNN's convolutions as a ratio to those without. Lite0, all blocks trained, crops of 96 px, a cell of 32
fields a step (04's defaults), simulated fields.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from hpa_simulator import write_dataset
from hpa_utils import model, tables
from hpa_utils.batches import CellBatches, stream
from hpa_utils.crop_sets import open_crops
from hpa_utils.model import keras
from hpa_utils.running.notebooks import run_notebooks

FIELDS, SIZE, BATCH = 64, 96, 32
STEPS, EPOCHS = 40, 20  # of a turn; short epochs over which memory is watched
CORES = len(os.sched_getaffinity(0))


def main() -> None:
    """Print the ratios and the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--speed", action="store_true", help="print the steps a second on a batch in memory, and stop")
    options = parser.parse_args()
    if options.speed:
        network, kept = make_network(), InMemory(made_up_batch(), STEPS + 1)
        fit(network, kept)
        print(fit(network, kept))
        return
    turns = options.turns
    with tempfile.TemporaryDirectory() as folder:
        batches, network = make_batches(Path(folder)), make_network()
        kept = InMemory(batches[0], STEPS + 1)
        fit(network, kept)  # traced and warm
        rows = [(fit(network, batches), fit(network, kept)) for _ in range(turns)]
        eaten = statistics.median(memory for _, memory in rows) * BATCH
        begun = time.perf_counter()
        for step in range(4 * STEPS):
            batches[step]
        made = 4 * STEPS * BATCH / (time.perf_counter() - begun)
        import tensorflow as tf

        versions = f"Python {platform.python_version()}, tensorflow {tf.__version__}, keras {keras.__version__}"
        print(f"{CORES} cores, no GPU, {versions}")
        print(f"whole loop / batch in memory: {describe([disk / memory for disk, memory in rows])}, {turns} turns")
        print(f"crops a second that the model eats: {eaten:.0f}; the batches alone: {made / eaten:.1f} × as many")
        print("memory after each of the last epochs, MB:", *watch_memory(network, batches))
        kept.steps = STEPS // 4
        pairs = [(seconds_of_epochs(network, stream(kept)), seconds_of_epochs(network, kept)) for _ in range(turns)]
        print("epochs streamed / from a PyDataset, time:", describe([streamed / tuned for streamed, tuned in pairs]))
    pairs = [(speed_apart("1"), speed_apart("0")) for _ in range(turns)]
    print("with oneDNN / without, steps a second:", describe([with_it / without for with_it, without in pairs]))


def describe(ratios: list[float]) -> str:
    """Their median, and from where to where they go."""
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def make_batches(folder: Path) -> CellBatches:
    """Batches of simulated cells, on labels that they inherit."""
    data = write_dataset(folder / "data", FIELDS, 1, 512, seed=0)
    run_notebooks(str(data), str(folder / "out"), "02,03", segmenter="masks", assignments=(f"03.size={SIZE}",))
    crops, fields, _ = open_crops(folder / "out", str(SIZE), "train")
    targets = tables.label_matrix(fields)[crops.field].astype(np.float32)
    everything = np.arange(len(fields))
    return CellBatches(crops, tables.percentile_array(fields), targets, everything, BATCH, STEPS + 1, seed=0)


def make_network() -> keras.Model:
    """Augmentation, Lite0 and a head, compiled: what 04 trains."""
    backbone, _ = model.build_backbone("lite0", SIZE)
    crop, percentiles = keras.Input((SIZE, SIZE, 4)), keras.Input((4, 4))
    changed = model.RandomBrightness(0.3)(model.RandomRightAngles()(crop))
    features = backbone(model.FieldNormalisation()(changed, percentiles))
    logits = keras.layers.Dense(19)(keras.layers.GlobalAveragePooling2D()(features))
    network = keras.Model([crop, percentiles], logits)
    model.unfreeze(backbone, 1.0)
    network.compile(keras.optimizers.AdamW(1e-5), loss=keras.losses.BinaryCrossentropy(from_logits=True))
    return network


class InMemory(keras.utils.PyDataset):  # of which `stream` needs no more than the length and the items
    """One batch, again and again."""

    def __init__(self, batch, steps: int):
        super().__init__()
        self.batch, self.steps = batch, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, step):
        return self.batch


class StepClock(keras.callbacks.Callback):
    """When each step ended, s."""

    def on_train_begin(self, logs=None):
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())


def fit(network: keras.Model, batches) -> float:
    """Steps a second; the first, which begins the reading, is not counted."""
    clock = StepClock()
    network.fit(stream(batches), verbose=0, shuffle=False, callbacks=[clock])
    return (len(clock.ends) - 1) / (clock.ends[-1] - clock.ends[0])


def made_up_batch():
    """Noise in the shapes of a batch."""
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (BATCH, SIZE, SIZE, 4), np.uint8)
    percentiles = np.tile(np.array([0, 20, 100, 200], np.float32), (BATCH, 4, 1))
    return (crops, percentiles), rng.integers(0, 2, (BATCH, 19)).astype(np.float32)


def speed_apart(onednn: str) -> float:
    """Steps a second in a process of its own, with oneDNN ("1") or without."""
    call = [sys.executable, __file__, "--speed"]
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn}
    return float(subprocess.run(call, env=environment, check=True, capture_output=True, text=True).stdout)


def seconds_of_epochs(network: keras.Model, batches) -> float:
    """How long some epochs take."""
    begun = time.perf_counter()
    network.fit(batches, verbose=0, shuffle=False, epochs=EPOCHS // 2)
    return time.perf_counter() - begun


def watch_memory(network: keras.Model, batches: CellBatches) -> list[int]:
    """Resident memory of the process after each of the last three quarters of short epochs, MB."""
    process, seen, batches.steps = psutil.Process(), [], 4
    for _ in range(EPOCHS):
        network.fit(stream(batches), verbose=0, shuffle=False)
        seen.append(round(process.memory_info().rss / 1e6))
    return seen[EPOCHS // 4 :]


if __name__ == "__main__":
    main()
