"""Simulated fields in Kaggle's layout, with weak labels and known truth; no TensorFlow anywhere."""

from hpa_simulator.dataset import VERSION as VERSION
from hpa_simulator.dataset import write_dataset as write_dataset
