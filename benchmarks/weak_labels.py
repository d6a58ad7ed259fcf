"""Which recipe learns single cells from field labels? `python benchmarks/weak_labels.py FEATURES.npz [--seeds N]`.

Heads on frozen features (`benchmarks/frozen_features.py`), so that every recipe is trained until inherited labels get
worse. A seed is another split of the samples into train (70 %) and test, and another start; recipes share both. Score:
macro average precision over the 19 classes of the test fields' true cells: of a cell's own score, and blended as 05
does. Each recipe at its own best length (found on the test fields, for all of them alike).

Writes benchmarks/results/weak_labels_SEED.json after each recipe; `--report` prints the tables of docs/weak_labels.md
from these files and draws its plot. Real cells: benchmarks/weak_labels_real.py.
"""

import argparse
import json
import time
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from scipy.special import softmax
from scipy.stats import rankdata

from hpa_utils.blending import GRADED, change_odds, company_odds, nothing_shown, shown_part
from hpa_utils.inference import field_max, field_mean, logit, sigmoid
from hpa_utils.labels import N_CLASSES, NEGATIVE
from hpa_utils.weak_labels.folds import assign_folds

RESULTS = Path(__file__).resolve().parent / "results"
LENGTHS = (2, 4, 8, 16, 32, 64)  # passes over the train cells
HIDDEN, DROPOUT, BATCH, RATE, DECAY, AVERAGE = 128, 0.3, 128, 3e-3, 1e-2, 0.99
FOLDS, TEACHER, SPINDLE, TOGETHER = 5, 8, 11, 0.47  # TEACHER: passes of a teacher


# --- heads -----------------------------------------------------------------------------------------------------------


class Head:
    """One dense layer, or two, on features; trained by AdamW, used with the moving average of its weights."""

    def __init__(self, inputs, hidden, seed):
        self.rng = np.random.default_rng(seed)
        sizes = [inputs, hidden, N_CLASSES] if hidden else [inputs, N_CLASSES]
        self.weights = []
        for a, b in zip(sizes, sizes[1:]):
            self.weights += [self.rng.normal(0, (1 / a) ** 0.5, (a, b)).astype(np.float32), np.zeros(b, np.float32)]
        self.weights[-1] -= 2
        self.average = [weight.copy() for weight in self.weights]
        self.first, self.second = ([np.zeros_like(weight) for weight in self.weights] for _ in range(2))
        self.steps = 0

    def step(self, features, gradient_of):
        """A step of AdamW; `gradient_of` gives the loss's gradient by the logits."""
        kept = (self.rng.random(features.shape, np.float32) >= DROPOUT) / np.float32(1 - DROPOUT)
        inputs, masks = [features * kept], []
        for place in range(0, len(self.weights) - 2, 2):
            hidden = np.maximum(inputs[-1] @ self.weights[place] + self.weights[place + 1], 0)
            masks.append(
                (hidden > 0) * (self.rng.random(hidden.shape, np.float32) >= DROPOUT) / np.float32(1 - DROPOUT)
            )
            inputs.append(hidden * (masks[-1] > 0) / np.float32(1 - DROPOUT))
        flow = gradient_of(inputs[-1] @ self.weights[-2] + self.weights[-1]).astype(np.float32)
        gradients = []
        for place in range(len(self.weights) - 2, -1, -2):
            gradients = [inputs[place // 2].T @ flow, flow.sum(axis=0), *gradients]
            if place:
                flow = (flow @ self.weights[place].T) * masks[place // 2 - 1]
        self._update(gradients)

    def _update(self, gradients):
        self.steps += 1
        average = min(AVERAGE, self.steps / (self.steps + 10))
        for place, gradient in enumerate(gradients):
            self.first[place] += 0.1 * (gradient - self.first[place])
            self.second[place] += 0.001 * (gradient**2 - self.second[place])
            change = self.first[place] / (1 - 0.9**self.steps)
            change /= np.sqrt(self.second[place] / (1 - 0.999**self.steps)) + 1e-8
            self.weights[place] -= np.float32(RATE) * (change + DECAY * self.weights[place])
            self.average[place] += (1 - average) * (self.weights[place] - self.average[place])

    def logits(self, features):
        """Logits by the averaged weights."""
        for place in range(0, len(self.average) - 2, 2):
            features = np.maximum(features @ self.average[place] + self.average[place + 1], 0)
        return features @ self.average[-2] + self.average[-1]


def cross_entropy(targets):
    """Gradient of the mean cross-entropy against targets (n, 19), as a function of logits and the batch's rows."""
    return lambda logits, rows: (sigmoid(logits) - targets[rows]) / len(rows)


def unlabelled(inherited):
    """Gradient of a non-negative risk: of a positive field's cells, a mixture, the known share shows the class.

    Cells of other fields are sure negatives; their loss as positives, weighted, is taken from the mixture's, and what
    falls below zero is left out (Kiryo et al. 2017, with the parts of positives and unlabelled exchanged).
    """
    share = np.append(GRADED.share, 1.0)

    def gradient(logits, rows):
        mixed, probability = inherited[rows] > 0, sigmoid(logits)
        n_mixed, n_other = mixed.sum(axis=0), (~mixed).sum(axis=0)
        missing = (1 - share) * n_mixed / np.maximum(n_other, 1)  # weight of a sure negative as one of the mixture
        as_positive = np.logaddexp(0, -logits)
        risk = (mixed * as_positive).sum(axis=0) - (missing * ~mixed * as_positive).sum(axis=0)
        found = np.where(mixed, probability - 1, -missing * (probability - 1)) * (risk > 0)
        found += np.where(mixed, 0, probability * (1 + missing))
        return found / len(rows)

    return gradient


def train(features, gradient, passes, seed, hidden=HIDDEN, after=None, batch=BATCH):
    """Train a head; `after(head, n)` is called after each pass and may give another `gradient`."""
    head = Head(features.shape[1], hidden, seed)
    for number in range(1, passes + 1):
        order = head.rng.permutation(len(features))
        for first in range(0, len(order) - batch // 2, batch):
            rows = order[first : first + batch]
            head.step(features[rows], partial(gradient, rows=rows))
        gradient = (after(head, number) if after else None) or gradient
    return head


# --- targets ---------------------------------------------------------------------------------------------------------


def levels(inherited, evidence, rate=0.6, absent=0.25, floor=0.25):
    """The targets of version 0.2: 1, .75, .5, .25 or 0 by the rank of the evidence among positive fields' cells."""
    soft = np.array(inherited, np.float32)
    cuts = [rate / 3, rate * 2 / 3, rate, 1 - absent * (1 - rate)]
    for label in range(NEGATIVE):
        rows = np.flatnonzero(inherited[:, label])
        place = (rankdata(-evidence[rows, label]) - 0.5) / max(rows.size, 1)
        soft[rows, label] = np.maximum((1 - np.arange(5) / 4)[np.searchsorted(cuts, place)], floor)
    return soft


def posterior(cells, logits, field_weight=0.5, prior=True, together=1.0, negative=True):
    """Targets whose mean over a positive field's cells is the known share: the logits are shifted, class by class.

    `field_weight` × the field's mean logit is added to the cell's own; with `prior`, size, border and the labels beside
    count, too. `together` is the factor on the odds of two labels in one cell: below 1, a cell that shows one of its
    field's labels shows another less probably, and one that shows none more. Negative gets the chance of none.
    """
    inherited, targets = cells["labels"], cells["labels"].astype(np.float32)
    evidence = (logits + field_weight * field_mean(logits, cells["field"]))[:, :NEGATIVE]
    if prior and "part" in cells:
        evidence += np.log(cells["part"] * company_odds(inherited.astype(float)))
    sets, of_set = np.unique(inherited[:, :NEGATIVE], axis=0, return_inverse=True)
    shift, count = np.zeros(NEGATIVE), np.maximum(inherited[:, :NEGATIVE].sum(axis=0), 1)
    for _ in range(60):
        for number, labels in enumerate(map(np.flatnonzero, sets)):
            rows = np.flatnonzero(of_set == number)
            subsets = np.array(list(product((0, 1), repeat=len(labels)))).reshape(-1, len(labels))
            pairs = subsets.sum(axis=1) * (subsets.sum(axis=1) - 1) / 2
            weight = (evidence[np.ix_(rows, labels)] + shift[labels]) @ subsets.T + pairs * np.log(together)
            chance = softmax(weight, axis=1)
            targets[np.ix_(rows, labels)] = chance @ subsets
            targets[rows, NEGATIVE] = chance[:, 0]
        mean = (targets[:, :NEGATIVE] * inherited[:, :NEGATIVE]).sum(axis=0) / count
        change = logit(cells["share"]) - logit(np.clip(mean, 1e-6, 1 - 1e-6))
        shift += np.clip(change, -2, 2)
        if np.abs(change[inherited[:, :NEGATIVE].any(axis=0)]).max() < 0.02:
            break
    targets[:, NEGATIVE] = np.maximum(inherited[:, NEGATIVE], targets[:, NEGATIVE] if negative else 0)
    return targets


def out_of_fold(cells, gradient_for, passes, seed, batch=BATCH):
    """Logits of the train cells by five heads, each of which did not see the cell's fold."""
    logits = np.zeros((len(cells["field"]), N_CLASSES))
    for fold in range(FOLDS):
        held = cells["fold"] == fold
        head = train(cells["features"][~held], gradient_for(~held), passes, 100 * seed + fold, batch=batch)
        logits[held] = head.logits(cells["features"][held])
    return logits


# --- cells and scores ------------------------------------------------------------------------------------------------


def split_cells(every, seed, weakness=1.0):
    """Train and test cells of a seed: other samples, so other proteins, in each."""
    samples = np.unique(every["sample"])
    chosen = np.random.default_rng(seed).permutation(samples)[: round(0.3 * len(samples))]
    held = np.isin(every["sample"], chosen)
    parts = [{name: values[rows] for name, values in every.items()} for rows in (~held, held)]
    for cells in parts:
        cells["field"] = np.unique(cells["field"], return_inverse=True)[1]
        cells["share"] = GRADED.share**weakness
    learned = parts[0]
    _, first = np.unique(learned["field"], return_index=True)
    groups = np.unique(learned["sample"][first], return_inverse=True)[1]
    learned["fold"] = assign_folds(learned["labels"][first], FOLDS, seed, groups)[learned["field"]]
    return parts


def with_neighbours(cells):
    """Features and, beside them, those of the field's cells, by how alike they are: attention that is not learned."""
    features, found = cells["features"], np.empty_like(cells["features"])
    for field in range(cells["field"].max() + 1):
        rows = np.flatnonzero(cells["field"] == field)
        unit = features[rows] / np.linalg.norm(features[rows], axis=1, keepdims=True)
        attention = np.exp(4 * (unit @ unit.T))
        found[rows] = attention / attention.sum(axis=1, keepdims=True) @ features[rows]
    return np.concatenate([features, found], axis=1)


def blend(cells, logits):
    """Confidences of cells, as notebook 05 blends them."""
    own, of_field = sigmoid(logits), sigmoid(field_mean(logits, cells["field"]))
    confidences = own * of_field
    confidences[:, :18] = change_odds(confidences[:, :18], cells["part"] * company_odds(of_field))
    confidences[:, SPINDLE] = own[:, SPINDLE] * field_max(own, cells["field"])[:, SPINDLE]
    confidences[:, NEGATIVE] = own[:, NEGATIVE] * nothing_shown(of_field, cells["part"])
    return confidences


def precisions(truth, scores):
    """Average precision (19,) of each class; NaN where no cell shows it."""
    found = np.full(N_CLASSES, np.nan)
    for label in np.flatnonzero(truth.any(axis=0)):
        hits = np.flatnonzero(truth[np.argsort(-scores[:, label], kind="stable"), label])
        found[label] = (np.arange(1, len(hits) + 1) / (hits + 1)).mean()
    return found


# --- the comparison --------------------------------------------------------------------------------------------------


def compare(every, seed, weakness, recipes, keep):
    """{recipe: {"own", "blended": AP by length and class, (lengths, 19)}} of one seed."""
    learned, test = split_cells(every, seed, weakness)
    inherited, found = learned["labels"].astype(np.float32), {}

    def run(name, gradient, features="features", hidden=HIDDEN, after=None):
        if not any(name.startswith(wanted) for wanted in recipes):
            return
        begun, result = time.time(), {"own": [], "blended": []}

        def watch(head, number):
            if number in LENGTHS:
                logits = head.logits(test[features])
                result["own"].append(precisions(test["truth"], logits))
                result["blended"].append(precisions(test["truth"], blend(test, logits)))
            return after(head, number) if after else None

        train(learned[features], gradient, LENGTHS[-1], seed, hidden, watch)
        found[name] = {key: np.array(value) for key, value in result.items()}
        keep(found)
        best = np.nanmean(found[name]["blended"], axis=1)
        print(f"seed {seed}  {name:44s} {np.round(best, 3)}  {time.time() - begun:.0f} s", flush=True)

    run("inherited", cross_entropy(inherited))
    run("true", cross_entropy(learned["truth"].astype(np.float32)))
    first = out_of_fold(learned, lambda rows: cross_entropy(inherited[rows]), TEACHER, seed)
    of_field = sigmoid(field_mean(first, learned["field"]))
    run("posterior", cross_entropy(posterior(learned, first)))
    together = posterior(learned, first, together=TOGETHER)
    run("posterior, labels together", cross_entropy(together))
    run("levels", cross_entropy(levels(inherited, sigmoid(first) * of_field)))
    run("posterior, no size nor company", cross_entropy(posterior(learned, first, prior=False)))
    run("linear: inherited", cross_entropy(inherited), hidden=0)
    run("linear: true", cross_entropy(learned["truth"].astype(np.float32)), hidden=0)
    run("positive-unlabelled", unlabelled(inherited))
    run("posterior, no Negative", cross_entropy(posterior(learned, first, negative=False)))
    second = out_of_fold(learned, lambda rows: cross_entropy(together[rows]), TEACHER, seed + 50)
    run("posterior, labels together, second", cross_entropy(posterior(learned, second, 0.25, together=TOGETHER)))

    def on_the_way(head, number):
        if number >= 4:
            return cross_entropy(posterior(learned, head.logits(learned["features"]), together=TOGETHER))

    run("posterior, labels together, on the way", cross_entropy(inherited), after=on_the_way)
    if "neighbours" in recipes:
        for cells in (learned, test):
            cells["both"] = with_neighbours(cells)
        run("neighbours: inherited", cross_entropy(inherited), "both")
    return found


# --- the report ------------------------------------------------------------------------------------------------------


def report(paths, picture):
    """Print the means over seeds, each recipe at its own best length, and draw scores by length and by class."""
    seeds = [json.loads(path.read_text()) for path in paths]
    names = [name for name in seeds[0] if all(name in one for one in seeds)]
    print(
        f"{len(seeds)} seeds; mean, seeds minus inherited, passes, share of the gap, class 11, class 18, the others\n"
    )
    kept, drawn, rows = {}, {}, []
    for kind in ("own", "blended"):
        for name in names:
            values = np.array([one[name][kind] for one in seeds], float)  # (seeds, lengths, classes)
            macro = np.nanmean(values, axis=2)
            best = macro.mean(axis=0).argmax()
            kept[name, kind], drawn[name, kind] = values[:, best], macro
            one = np.nanmean(kept[name, kind], axis=1)
            apart = np.nanmean(kept[name, kind], axis=0)
            others = np.nanmean(np.delete(apart, [SPINDLE, NEGATIVE]))
            rows.append((kind, name, one, LENGTHS[best], apart, others))
    for kind, name, one, passes, apart, others in rows:
        inherited, true = (np.nanmean(kept[end, kind], axis=1) for end in ("inherited", "true"))
        closed = (one - inherited).mean() / (true - inherited).mean()
        gain = ", ".join(f"{value:+.3f}" for value in one - inherited)
        print(
            f"| {kind} | {name} | {one.mean():.3f} | {gain} | {passes} | {closed:.0%} | {apart[SPINDLE]:.2f} "
            f"| {apart[NEGATIVE]:.2f} | {others:.3f} |"
        )
    print("\nclass 18 and class 11, blended, by seed")
    for name in names:
        for label in (NEGATIVE, SPINDLE):
            print(f"{name:40s} {label} " + ", ".join(f"{value:.2f}" for value in kept[name, "blended"][:, label]))
    print("\nby class, blended: inherited, posterior, true")
    chosen = [name for name in ("inherited", "posterior", "true") if name in names]
    for label in range(N_CLASSES):
        print(f"{label:3d} " + " ".join(f"{np.nanmean(kept[name, 'blended'][:, label]):.2f}" for name in chosen))
    draw(picture, names, drawn)


def draw(path, names, macro):
    """Scores by length: the cell alone, and blended."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, constrained_layout=True)
    for axis, kind, title in zip(axes, ("own", "blended"), ("the cell alone", "blended as in 05")):
        for name in names:
            if not name.startswith("linear"):
                axis.plot(
                    LENGTHS, macro[name, kind].mean(axis=0), marker=".", label=name, ls="--" if "neigh" in name else "-"
                )
        axis.set(xscale="log", xticks=LENGTHS, xticklabels=LENGTHS, xlabel="passes", title=title)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("macro average precision")
    axes[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=90)


def main() -> None:
    """Compare on one file, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weakness", type=float, default=1.0)
    parser.add_argument("--recipes", nargs="+", default=["inherited", "true", "linear", "positive", "neighbours",
                                                         "levels", "posterior"])  # fmt: skip
    parser.add_argument("--json", type=Path, default=RESULTS / "weak_labels.json")
    parser.add_argument("--report", type=Path, metavar="PNG", help="report; the plot's file")
    options = parser.parse_args()
    if options.report:
        report(sorted(options.json.parent.glob(f"{options.json.stem}_[0-9].json")), options.report)
        return
    with np.load(options.features) as file:
        every = {name: file[name] for name in file.files}
    every["part"] = shown_part(every["area"].astype(float), every["field"], every["edge"])
    for seed in options.seeds:
        path = options.json.with_name(f"{options.json.stem}_{seed}.json")

        def keep(found, path=path):
            path.write_text(
                json.dumps({name: {k: np.round(v, 4).tolist() for k, v in one.items()} for name, one in found.items()})
            )

        compare(every, seed, options.weakness, options.recipes, keep)


if __name__ == "__main__":
    main()
