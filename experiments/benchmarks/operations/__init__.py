"""Single operations, timed: the shapes, the contestants, and a process for each of them.

- ``cases``: which convolutions, of which networks
- ``by_jax``, ``by_torch``: how each contestant computes them
- ``worker``: a process that holds one contestant, and times what it is asked to
- ``report``: a record as tables and as a picture
"""
