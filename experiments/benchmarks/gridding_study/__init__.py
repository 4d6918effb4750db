"""What ``gridding_accuracy.py`` compares.

- ``networks``: one small network, its dilated layers in different ways
- ``tasks``: images to tell apart, and digits to label pixel by pixel
- ``report``: a record as a table
"""
