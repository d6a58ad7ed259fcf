"""From four-channel confocal fields with image-level labels to the organelles of each single cell.

A *field* is a field of view: one place of a sample, photographed in four channels. The modules, in the order in which
the data flows through them (each imports only from those before it):

``labels``, ``paths``, ``dataset``, ``images``, ``masks``, ``tables``, ``manifest``
    classes, places, the data set, fields, cell masks, the tables between notebooks, what a notebook did
``segmentation``, ``crops``, ``crop_sets``, ``batches``
    cells of a field; one masked crop a cell, stored and drawn one by one
``model``, ``prediction``, ``training``, ``weak_labels``, ``model_folders``, ``inference``, ``scoring``
    what a network is built of, what training needs beside Keras, using models, and the competition's score

Beside the flow: ``plots`` (one file a notebook), ``parallel`` (work over parts) and ``running`` (papermill, Kaggle, the
command line). The packages ``hpa_simulator`` and ``hpa_explorer`` draw a data set and look at what a model sees.
"""

__version__ = "0.2.0"
