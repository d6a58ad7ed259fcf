"""Kaggle: the manifest of kernels and data sets, the folders that its command line uploads, and the upload."""

from hpa_utils.running.kaggle.pushing import push
from hpa_utils.running.kaggle.schema import make_plan, read_plan
from hpa_utils.running.kaggle.staging import build_wheels, stage

__all__ = ["build_wheels", "make_plan", "push", "read_plan", "stage"]
