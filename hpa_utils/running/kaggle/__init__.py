"""Kaggle: the manifest of kernels and data sets, the folders that its command line uploads, and the upload."""

from hpa_utils.running.kaggle.schema import make_plan, read_plan
from hpa_utils.running.kaggle.staging import build_wheels, push, push_commands, stage

__all__ = ["build_wheels", "make_plan", "push", "push_commands", "read_plan", "stage"]
