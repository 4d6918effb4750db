"""Networks, tasks and report of ``gridding_accuracy.py``.

- ``networks``: one small network, with different layers in place of its dilated convolutions
- ``tasks``: images to classify, and canvases of digits to label pixel by pixel
- ``report``: tables of a record
"""
