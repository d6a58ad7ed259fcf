"""Cells of a field: the watershed, hpacellseg's networks, masks made elsewhere, and the two tables."""

from hpa_utils.segmentation.agreement import match_masks
from hpa_utils.segmentation.hpacellseg import HPACellSegmenter
from hpa_utils.segmentation.label_cells import label_cells
from hpa_utils.segmentation.parts import SegmentationPart, estimate_bytes, plan_segmentation, segment_part
from hpa_utils.segmentation.reference import ReferenceMasks
from hpa_utils.segmentation.selection import choose_segmenter
from hpa_utils.segmentation.watershed import WatershedSegmenter

__all__ = [
    "HPACellSegmenter",
    "ReferenceMasks",
    "SegmentationPart",
    "WatershedSegmenter",
    "choose_segmenter",
    "estimate_bytes",
    "label_cells",
    "match_masks",
    "plan_segmentation",
    "segment_part",
]
