"""One masked crop a cell, kept in one bag a field."""

from hpa_utils.crops.bags import BagPart, plan_bags, write_bags
from hpa_utils.crops.cut import CropConfig, cut_cell, decode_crop, encode_crop
from hpa_utils.crops.reading import Bags

__all__ = ["BagPart", "Bags", "CropConfig", "cut_cell", "decode_crop", "encode_crop", "plan_bags", "write_bags"]
