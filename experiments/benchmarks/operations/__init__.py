"""Cases, contestants, worker processes and report of ``op_speed.py``.

- ``cases``: the operations that are timed, with shapes of known networks
- ``by_jax``, ``by_torch``: the implementations of the contestants
- ``worker``: a process that runs one contestant and times its calls
- ``report``: tables and a picture of a record
"""
