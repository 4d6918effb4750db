"""The same networks as their users would write them elsewhere, to be measured against.

Each takes a network of ``dilax.models``, reads its layers and copies its parameters, so that the
outputs can be compared before anything is timed.

- ``stock_flax``: stock ``flax.nnx`` layers, computed by lax
- ``pytorch``: PyTorch, channels last
"""
