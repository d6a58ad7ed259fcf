"""The competition's score, the file it is computed from, and scores of what was not trained on."""

from hpa_utils.scoring.evaluation import (
    confident_mistakes,
    grade_labels,
    ranking_scores,
    reliability,
    truth_labels,
)
from hpa_utils.scoring.ledger import blend_ledger
from hpa_utils.scoring.metrics import mean_average_precision, score_submission
from hpa_utils.scoring.reading import read_submission
from hpa_utils.scoring.report import class_table, report_lines, score_report
from hpa_utils.scoring.submission import (
    publish_submission,
    read_truth,
    submission_rows,
    write_submission,
)
from hpa_utils.scoring.validation import validate_submission

__all__ = [
    "blend_ledger",
    "class_table",
    "confident_mistakes",
    "grade_labels",
    "mean_average_precision",
    "publish_submission",
    "ranking_scores",
    "read_submission",
    "read_truth",
    "reliability",
    "report_lines",
    "score_report",
    "score_submission",
    "submission_rows",
    "truth_labels",
    "validate_submission",
    "write_submission",
]
