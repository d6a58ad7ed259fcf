"""The competition's score, and the file it is computed from."""

from hpa_utils.scoring.metrics import field_scores, mean_average_precision, score_submission
from hpa_utils.scoring.submission import read_submission, read_truth, validate_submission, write_submission

__all__ = [
    "field_scores",
    "mean_average_precision",
    "read_submission",
    "read_truth",
    "score_submission",
    "validate_submission",
    "write_submission",
]
