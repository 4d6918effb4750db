"""Networks and contestants of ``inference_speed.py``.

- ``by_jax``: networks on JAX, as they are and in the forms that dilax makes of them
- ``by_torch``: the same networks in PyTorch, and as ONNX files in other runtimes
- ``worker``: runs one contestant and times its calls, in a process of its own
"""
