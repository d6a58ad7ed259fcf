"""From four-channel confocal fields with image-level labels to the organelles of each single cell.

The modules, in the order in which the data flows through them (each imports only from those before it):

``labels``, ``paths``, ``dataset``, ``images``, ``masks``, ``tables``, ``manifest``
    classes, places, the data set, fields, cell masks, the tables between stages, what a stage did
``segmentation``, ``crops``
    cells of a field; one masked crop a cell, kept in one bag a field
``model``, ``training``, ``inference``, ``scoring``
    the network, learning it from field labels, using it, and the competition's score

Beside the flow: ``simulate`` (a data set to try everything on), ``plots`` (one file a notebook) and
``running`` (worker processes, papermill, the command line).
"""

__version__ = "0.1.0"
