"""Kaggle: the manifest of kernels and data sets, the folders that its command line uploads, and the upload."""

from hpa_utils.running.kaggle.pushing import push, push_commands
from hpa_utils.running.kaggle.schema import Kernel, Library, Plan, read_plan
from hpa_utils.running.kaggle.staging import build_wheels, stage

__all__ = ["Kernel", "Library", "Plan", "build_wheels", "push", "push_commands", "read_plan", "stage"]
