"""What single cells are to learn when only their field is labelled: folds, soft labels, human grades, spindles."""

from hpa_utils.weak_labels.cell_labels import mark_spindles, shown_shares, soft_labels, spindle_cells
from hpa_utils.weak_labels.folds import find_samples, split_fields
from hpa_utils.weak_labels.grades import graded_cells, use_grades, visible
