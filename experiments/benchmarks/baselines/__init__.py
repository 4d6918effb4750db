"""Networks written with other libraries, as baselines for the benchmarks.

- ``stock_flax``: ``mnist_dsdc`` of stock ``flax.nnx`` layers, computed by lax
- ``pytorch``: ``mnist_dsdc`` in PyTorch, channels last
- ``pytorch_networks``: MobileNetV2 and ConvNeXt-Tiny in PyTorch
- ``fifty_blocks``: a deep network of separable blocks, in dilax and in stock Flax
- ``keras_networks``: MobileNetV2 and ConvNeXt-Tiny of Keras 3

Both versions of ``mnist_dsdc`` copy the parameters of the dilax network, so that their outputs can
be compared before anything is timed.
"""
