"""Cases, contestants, worker processes and report of ``op_speed.py``.

- ``cases``: the operations that are timed, with shapes of known networks
- ``by_jax``, ``by_torch``: the implementations of the contestants
- ``by_numpy``: what errors are measured against
- ``worker``: runs one contestant and times its calls, in a process of its own
- ``report``: tables and a picture of a record
"""
