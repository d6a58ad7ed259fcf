"""From four-channel confocal fields with image-level labels to the organelles of each single cell.

A *field* is a field of view: one place of a sample, photographed in four channels. The modules, in the order in which
the data flows through them (each imports only from those before it):

``labels``, ``paths``, ``limits``, ``checks``, ``csv_files``, ``planes``
    classes, places, time and room, and checks of what comes in: arrays, settings, tables, image files
``dataset``, ``images``, ``masks``, ``tables``, ``manifest``
    the data set, fields, cell masks, the tables between notebooks, what a notebook did
``segmentation``, ``crops``, ``crop_sets``
    cells of a field; one masked crop a cell, stored one by one
``model``, ``batches``, ``inference``, ``training``, ``blending``, ``weak_labels``
    what a network is built of, and what training needs beside Keras
``model_folders``, ``scoring``
    using models, and the competition's score

Beside the flow: ``plots`` (one file a notebook), ``parallel`` (work over parts) and ``running`` (papermill, Kaggle, the
command line). The packages ``hpa_simulator`` and ``hpa_explorer`` draw a data set and look at what a model sees.
"""

__version__ = "0.3.0"
