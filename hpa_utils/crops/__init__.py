"""One masked crop a cell, kept in one bag a field."""

from hpa_utils.crops.bags import BagPart, estimate_bytes, plan_bags, write_bags
from hpa_utils.crops.cut import CropConfig, cut_cell, decode_crop, encode_crop
from hpa_utils.crops.reading import Bags
from hpa_utils.crops.sampling import BagSampler

__all__ = [
    "BagPart",
    "BagSampler",
    "Bags",
    "CropConfig",
    "cut_cell",
    "decode_crop",
    "encode_crop",
    "estimate_bytes",
    "plan_bags",
    "write_bags",
]
