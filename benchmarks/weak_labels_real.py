"""Soft labels on real pixels: `python benchmarks/weak_labels_real.py CELLS.npz RESULT.json [--seeds N]`.

Fields put together from real single cells (`frozen_features.py --real`, then `--join`): 9 to 12 cells of one to three
of five classes, labelled with their union; a quarter of the cells, as far as there are some, show none of the labels.
Three folds by canvas: heads learn the cells of two and are scored on the third. Recipes and heads are those of
`weak_labels.py`. Prints macro average precision over the five classes, each recipe at its best length, with 95 %
intervals over canvases.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from weak_labels import FOLDS, cross_entropy, levels, out_of_fold, posterior, precisions, train

from hpa_utils.inference import field_mean, sigmoid
from hpa_utils.labels import N_CLASSES, NEGATIVE

REAL_LENGTHS, ONE_LABEL = (16, 32, 64, 128), 0.05
BATCH, TEACHER, ROUNDS = 32, 32, 4  # TEACHER: passes of a teacher; ONE_LABEL: these cells show one label only
REAL_CLASSES, ANOTHER = (0, 2, 13, 14, 16), 0.25  # share of a field's cells replaced by cells that show none of it


def make_fields(classes, rng):
    """Fields of 9 to 12 cells of one to three classes, each cell once; field of each cell, and its labels (n, 19).

    `classes` (n,) is what each cell shows. Some cells of a field show none of its labels.
    """
    left = {label: list(rng.permutation(np.flatnonzero(classes == label))) for label in np.unique(classes)}
    fields = []
    while sum(map(len, left.values())):
        weight = np.array([len(rows) for rows in left.values()], float)
        n_labels = min(rng.choice((1, 2, 3), p=(0.45, 0.4, 0.15)), (weight > 0).sum())
        labels = rng.choice(list(left), n_labels, replace=False, p=weight / weight.sum())
        rows = []
        for _ in range(rng.integers(9, 13)):
            inside = [label for label in labels if left[label]]
            outside = [label for label in left if label not in labels and left[label]]
            source = outside if outside and (rng.random() < ANOTHER or not inside) else inside
            if source:
                rows.append(left[source[rng.integers(len(source))]].pop())
        fields.append((rows, [label for label in labels if label in classes[rows]]))
    field, labels = np.zeros(len(classes), int), np.zeros((len(classes), N_CLASSES), bool)
    for number, (rows, own) in enumerate(fields):
        field[rows] = number
        labels[np.ix_(rows, own)] = True
    return field, labels


def compare_real(path, seeds):
    """Each recipe on fields made of real cells: three folds by canvas; scores (seeds, n, 19) out of fold by length."""
    with np.load(path) as file:
        cells = {name: file[name] for name in file.files}
    classes, canvas, found = cells["truth"].argmax(axis=1), cells["field"], {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        groups = np.zeros(canvas.max() + 1, int)
        for label in REAL_CLASSES:
            own = rng.permutation(np.unique(canvas[classes == label]))
            groups[own] = (np.arange(len(own)) + rng.integers(3)) % 3
        for fold in range(3):
            held = groups[canvas] == fold
            for key, scores in scores_of_fold(cells, classes, held, seed, rng).items():
                found.setdefault(key, np.zeros((seeds, len(classes), N_CLASSES)))[seed, held] = scores
        print(f"real cells, seed {seed}, done", flush=True)
    return found, cells["truth"], canvas


def scores_of_fold(cells, classes, held, seed, rng):
    """{(recipe, own or blended, passes): scores (n, 19)} of the cells held out."""
    learned = {"features": cells["features"][~held], "truth": cells["truth"][~held]}
    learned["field"], learned["labels"] = make_fields(classes[~held], rng)
    learned["fold"] = rng.permutation(np.arange(learned["field"].max() + 1) % FOLDS)[learned["field"]]
    shown = (learned["labels"] & learned["truth"]).sum() / learned["labels"].sum()
    learned["share"] = np.full(NEGATIVE, shown)  # one share for all classes, as if people had graded some
    of_test = make_fields(classes[held], rng)[0]
    inherited = learned["labels"].astype(np.float32)
    first = out_of_fold(learned, lambda rows: cross_entropy(inherited[rows]), TEACHER, seed, BATCH)
    of_field = sigmoid(field_mean(first, learned["field"]))
    rounds = [posterior(learned, first, together=ONE_LABEL)]
    for number in range(1, ROUNDS):
        aims = rounds[-1]
        again = out_of_fold(
            learned, lambda rows, aims=aims: cross_entropy(aims[rows]), TEACHER, seed + 50 * number, BATCH
        )
        rounds.append(posterior(learned, again, 0.25, together=ONE_LABEL))
    targets = {"inherited": inherited, "true": learned["truth"].astype(np.float32)}
    targets["levels"] = levels(inherited, sigmoid(first) * of_field, rate=shown)
    targets["posterior"] = posterior(learned, first)
    targets |= {f"one label, round {number}": aims for number, aims in enumerate(rounds, 2)}
    found = {}

    def keep(head, name, number):
        if number in REAL_LENGTHS:
            logits = head.logits(cells["features"][held])
            found[name, "own", number] = logits
            found[name, "blended", number] = np.log(sigmoid(logits)) + np.log(sigmoid(field_mean(logits, of_test)))

    for name, aims in targets.items():
        train(learned["features"], cross_entropy(aims), REAL_LENGTHS[-1], seed,
              after=lambda head, number, name=name: keep(head, name, number), batch=BATCH)  # fmt: skip
    return found


def print_real(path, seeds):
    """Print macro average precision of each recipe, and how far it lies from inherited labels, with 95 % intervals."""
    found, truth, canvas = compare_real(path, seeds)
    kept, rng = np.array(REAL_CLASSES), np.random.default_rng(0)

    def macro(scores, rows):
        return np.mean([np.nanmean(precisions(truth[rows][:, kept], one[rows][:, kept])) for one in scores])

    everyone = np.arange(len(canvas))
    best, result = {}, {}
    for (name, kind, number), scores in found.items():
        value = macro(scores, everyone)
        if value > best.get((name, kind), (0,))[0]:
            best[name, kind] = value, number
    by_canvas = [np.flatnonzero(canvas == one) for one in range(canvas.max() + 1)]
    draws = [
        np.concatenate([by_canvas[one] for one in rng.integers(len(by_canvas), size=len(by_canvas))])
        for _ in range(300)
    ]
    for kind in ("own", "blended"):
        base = [macro(found["inherited", kind, best["inherited", kind][1]], rows) for rows in draws]
        for name in dict.fromkeys(key[0] for key in found):
            value, number = best[name, kind]
            drawn = np.array([macro(found[name, kind, number], rows) for rows in draws])
            spread = [round(float(one), 3) for one in np.quantile(drawn, (0.025, 0.975))]
            gain = [round(float(one), 3) for one in np.quantile(drawn - base, (0.025, 0.975))]
            print(f"{kind:8s} {name:26s} {value:.3f} {spread}, minus inherited {gain}, {number} passes", flush=True)
            result[f"{name}, {kind}"] = {"AP": value, "interval": spread, "gain_interval": gain, "passes": number}
    return result


def main() -> None:
    """Compare on one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path)
    parser.add_argument("json", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    options.json.write_text(json.dumps(print_real(options.cells, options.seeds), indent=1))


if __name__ == "__main__":
    main()
