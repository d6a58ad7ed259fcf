"""The competition's score, the file it is computed from, and scores of what was not trained on."""

from hpa_utils.scoring.evaluation import confident_mistakes, held_out_scores, ranking_scores, truth_labels
from hpa_utils.scoring.metrics import diagnose, match_detections, mean_average_precision, score_matches
from hpa_utils.scoring.report import bootstrap, compare, report_lines, score_report, score_submission
from hpa_utils.scoring.submission import (
    publish_submission,
    read_submission,
    read_truth,
    submission_rows,
    write_submission,
)
from hpa_utils.scoring.validation import validate_submission
