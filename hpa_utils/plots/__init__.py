"""Figures, one file a notebook; each function draws one figure and returns it."""
