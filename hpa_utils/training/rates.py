"""Learning rates tried one after another on one model, to choose from by eye."""

import itertools

import numpy as np
import pandas as pd

from hpa_utils.crops.batches import training_batches
from hpa_utils.crops.reading import Bags
from hpa_utils.model import unfreeze
from hpa_utils.training.devices import choose_devices
from hpa_utils.training.fit import build_model, compile_model, make_sampler
from hpa_utils.training.recipe import Recipe

LOWEST, HIGHEST = 1e-6, 1e-1
DIVERGED = 4.0  # times the lowest loss so far


def try_rates(bags: Bags, train: np.ndarray, size: int, recipe: Recipe, steps: int = 60) -> pd.DataFrame:
    """The loss of the deep phase while its learning rate rises from step to step; the model is thrown away.

    A good rate lies where the loss still falls steeply, a third to a tenth of where it turns up.

    Returns
    -------
    pandas.DataFrame
        A row a step: `rate`, `loss` (of that step). It ends where the loss has left its lowest value far behind.

    Source: Smith 2017, the learning rate range test.
    """
    devices = choose_devices(recipe.training.precision)
    with devices.strategy.scope():
        model, _ = build_model(recipe, size)
        unfreeze(model.get_layer("backbone"), recipe.training.unfrozen, recipe.model.batch_norm)
        compile_model(model, LOWEST, recipe.training)
    rows, batches = [], training_batches(bags, make_sampler(bags, train, recipe.training), size)
    for rate, batch in zip(np.geomspace(LOWEST, HIGHEST, steps), itertools.islice(batches, steps)):
        model.optimizer.learning_rate = rate
        model.reset_metrics()  # a step's own loss, not the mean of all so far
        loss = float(model.train_on_batch(batch.inputs, batch.targets, batch.weights, return_dict=True)["loss"])
        rows.append({"rate": rate, "loss": loss})
        if not np.isfinite(loss) or loss > DIVERGED * min(row["loss"] for row in rows):
            break
    return pd.DataFrame(rows)
