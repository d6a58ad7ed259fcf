"""One masked crop a cell, kept in one bag a field."""

from hpa_utils.crops.bags import BagPart, Bags, plan_bags, write_bags
from hpa_utils.crops.cut import CropConfig, cut_cell, decode_crop, encode_crop

__all__ = ["BagPart", "Bags", "CropConfig", "cut_cell", "decode_crop", "encode_crop", "plan_bags", "write_bags"]
