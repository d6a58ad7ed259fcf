"""The competition's score, the file it is computed from, and scores of what was not trained on."""

from hpa_utils.scoring.evaluation import confident_mistakes, held_out_scores, ranking_scores, truth_labels
from hpa_utils.scoring.metrics import diagnose, match_detections, mean_average_precision, score_matches
from hpa_utils.scoring.reading import read_submission, read_truth
from hpa_utils.scoring.report import report_lines, score_report, score_submission
from hpa_utils.scoring.submission import publish_submission, submission_rows, write_submission
from hpa_utils.scoring.uncertainty import bootstrap, compare
from hpa_utils.scoring.validation import validate_submission
