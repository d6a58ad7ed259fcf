"""The competition's score, and the file it is computed from."""

from hpa_utils.scoring.metrics import field_scores, mean_average_precision, score_submission
from hpa_utils.scoring.submission import (
    publish_submission,
    read_submission,
    read_truth,
    submission_rows,
    validate_submission,
    write_submission,
)

__all__ = [
    "field_scores",
    "mean_average_precision",
    "publish_submission",
    "read_submission",
    "read_truth",
    "score_submission",
    "submission_rows",
    "validate_submission",
    "write_submission",
]
