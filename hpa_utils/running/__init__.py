"""Running things: worker processes, the notebooks through papermill, the command line."""
