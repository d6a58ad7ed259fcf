"""Cells as frozen features, for benchmarks that train heads in seconds: `python benchmarks/frozen_features.py --help`.

Simulates fields, cuts every true cell (crops of 96 px) and pools what EfficientNet-Lite0, with ImageNet's weights and
never trained, makes of it: average and maximum of block 5 and of the last layer, of the four channels as 04 sees them
and of green alone, stretched by its cell. Four brightnesses of green are added. Writes one .npz: `features` float16
(n, d), `truth` and `labels` (of the field) bool (n, 19), `field` int, `test` bool, `area`, `edge` (n,), `sample` int.

With --real, the cells of a crop set of real single cells instead (`../shared/data/hpa_cells`, made by 02 and 03).
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from hpa_utils.crops import CropConfig, cut_cell
from hpa_utils.csv_files import read_csv
from hpa_utils.dataset import open_dataset
from hpa_utils.images import field_percentiles, read_field_of
from hpa_utils.labels import N_CLASSES
from hpa_utils.masks import counts_to_text
from hpa_utils.segmentation.masks_elsewhere import read_labels
from hpa_utils.segmentation.measure import cell_rows
from hpa_utils.weak_labels.folds import read_samples

GREEN, CHUNK, COMPONENTS = 1, 256, 256  # CHUNK: cells at a time


def main() -> None:
    """Make one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("sources", nargs="+", help="a simulated data set with truth; an output root; files to join")
    parser.add_argument("--size", type=int, default=96, help="side of the crops, px")
    parser.add_argument("--fields", type=int, nargs=2, default=(0, None), help="the first, and the one after the last")
    parser.add_argument("--real", action="store_true", help="the source is an output root with 03_cell_crops/96")
    parser.add_argument("--join", action="store_true", help="the sources are files: join them and whiten features")
    options = parser.parse_args()
    if options.join:
        cells = join(options.sources)
    else:
        source, part = options.sources[0], (options.size, *options.fields)
        cells = with_features(real_fields(source) if options.real else simulated_fields(source, *part), options.size)
    np.savez(options.file, **cells)
    print(f"{options.file}: {len(cells['field'])} cells of {len(np.unique(cells['field']))} fields")


def with_features(fields, size):
    """The columns of all cells, with their features."""
    extract, columns, crops, percentiles, found = feature_extractor(size), {}, [], [], []
    for number, cells in enumerate(fields):
        crops += list(cells.pop("crops"))
        percentiles += list(cells.pop("percentiles"))
        for name, values in cells.items():
            columns.setdefault(name, []).append(values)
        if len(crops) >= CHUNK:
            found.append(extract(np.array(crops), np.array(percentiles)))
            crops, percentiles = [], []
            print(f"{number + 1} fields", flush=True)
    if crops:
        found.append(extract(np.array(crops), np.array(percentiles)))
    columns = {name: np.concatenate(values) for name, values in columns.items()}
    return columns | {"features": np.concatenate(found).astype(np.float16)}


def join(paths):
    """The cells of all files, their features whitened together."""
    parts, n_fields = [], 0
    for path in paths:
        with np.load(path) as file:
            parts.append({name: file[name] for name in file.files})
        parts[-1]["field"] = parts[-1]["field"] + n_fields
        n_fields = parts[-1]["field"].max() + 1
    cells = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return cells | {"features": whiten(cells["features"])}


def whiten(features):
    """The first principal components of standardised features; the small ones are enlarged. Labels play no part."""
    features = np.nan_to_num(features.astype(np.float32))
    features = np.clip((features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-3), -6, 6)
    pca = PCA(min(COMPONENTS, len(features) // 4), svd_solver="randomized", iterated_power=1, random_state=0)
    found = pca.fit(features[:: max(1, len(features) // 3000)]).transform(features)
    found /= found.std(axis=0) ** 0.75
    return (found / found.std()).astype(np.float32)


def simulated_fields(root, size, first, last):
    """The true cells of each train field of a simulated data set; fields of one `sample` share labels and looks."""
    dataset, root = open_dataset(root), Path(root)
    samples, truth = read_samples(root / "samples.csv"), read_csv(root / "truth_train.csv", ("ID", "Label", "Mask"))
    truth, ids = dict(tuple(truth.groupby("ID"))), dataset.image_ids("train")
    every = list(enumerate(zip(ids, dataset.label_vectors("train", ids), strict=True)))
    for number, (image_id, labels) in every[first:last]:
        field = read_field_of(dataset, "train", image_id)
        masks = read_labels(root / "masks", image_id, field.shape[:2])
        rows = cell_rows(image_id, "train", masks, np.zeros_like(masks), field)
        boxes = [(row["y0"], row["x0"], row["y1"], row["x1"]) for row in rows]
        um, config = dataset.pixel_size_um, CropConfig(size)
        crops = [cut_cell(field, masks, cell, box, um, config)[0] for cell, box in enumerate(boxes, 1)]
        shown = np.zeros((len(rows), N_CLASSES), bool)
        by_mask = {counts_to_text(row["rle"]): place for place, row in enumerate(rows)}
        for row in truth[image_id].itertuples():
            shown[by_mask[row.Mask], int(row.Label)] = True
        of_field = {"labels": labels.astype(bool), "field": number, "percentiles": field_percentiles(field)}
        of_field |= {"sample": f"{root.parent.name} {samples[image_id]}"}
        cells = {name: np.repeat(np.asarray(value)[None], len(rows), axis=0) for name, value in of_field.items()}
        cells |= {"area": np.array([row["area"] for row in rows], np.float32)}
        cells |= {"edge": np.array([row["edge_fraction"] for row in rows], np.float32)}
        yield cells | {"crops": crops, "truth": shown}


def real_fields(out):
    """The real single cells, 256 at a time; a "field" is a canvas."""
    from hpa_utils import tables
    from hpa_utils.crop_sets import open_crops

    crops, fields, _ = open_crops(out, "96", "train")
    for first in range(0, len(crops), CHUNK):
        rows = np.arange(first, min(first + CHUNK, len(crops)))
        of = crops.field[rows]
        labels = tables.label_matrix(fields)[of].astype(bool)
        yield {"crops": np.asarray(crops.read(rows)), "percentiles": tables.percentile_array(fields)[of],
               "field": of, "labels": labels, "truth": labels}  # fmt: skip


def feature_extractor(size):
    """Function from crops, uint8 (n, size, size, 4), and percentiles (n, 4, 4) to features, float32 (n, d)."""
    from hpa_utils.model import FieldNormalisation, build_backbone, keras

    net, _ = build_backbone("lite0", size)
    maps = [net.get_layer("block5c_add").output, net.output]
    pools = (keras.layers.GlobalAveragePooling2D(), keras.layers.GlobalMaxPooling2D())
    pooled = keras.Model(net.input, keras.layers.Concatenate()([pool(one) for one in maps for pool in pools]))
    normalise = FieldNormalisation()

    def extract(crops, percentiles):
        green, shown = crops[..., GREEN].astype(np.float32), crops.max(axis=-1) > 0
        values = [one[mask] if mask.any() else np.zeros(1) for one, mask in zip(green, shown)]
        high = np.array([np.percentile(one, 99) for one in values])
        bright = np.array([[one.mean(), np.median(one), one.std()] for one in values])
        stretched = np.clip(green * (220 / np.maximum(high, 12))[:, None, None], 0, 255)
        views = [np.asarray(normalise(crops, percentiles)), np.repeat(stretched[..., None], 4, axis=-1)]
        brightness = np.log1p(np.column_stack([high, bright]))
        return np.concatenate([pooled.predict(view, batch_size=64, verbose=0) for view in views] + [brightness], axis=1)

    return extract


if __name__ == "__main__":
    main()
