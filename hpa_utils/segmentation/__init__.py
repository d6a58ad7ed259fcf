"""Cells of a field: the watershed, hpacellseg's networks, masks made elsewhere, and the two tables."""

from hpa_utils.segmentation.hpacellseg import HPACellSegmenter, label_cells
from hpa_utils.segmentation.masks_elsewhere import ReferenceMasks
from hpa_utils.segmentation.parts import choose_segmenter, estimate_bytes, plan_segmentation, segment_part
from hpa_utils.segmentation.watershed import WatershedSegmenter
