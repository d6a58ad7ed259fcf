"""What a trained model sees: cells as vectors, where in a cell it looks, fields whose cells differ, a page of it."""

from hpa_explorer.embeddings import embed_cells, embedding_network, map_cells, nearest_cells, write_embeddings
from hpa_explorer.explanations import explain_cells
from hpa_explorer.page import describe_field, describe_fields, write_page
from hpa_explorer.selection import choose_fields, find_cell, probable_classes, richest_field
from hpa_explorer.variability import mean_difference, rank_fields

__all__ = [
    "choose_fields",
    "describe_field",
    "describe_fields",
    "embed_cells",
    "embedding_network",
    "explain_cells",
    "find_cell",
    "map_cells",
    "mean_difference",
    "nearest_cells",
    "probable_classes",
    "rank_fields",
    "richest_field",
    "write_embeddings",
    "write_page",
]
