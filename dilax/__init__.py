"""Convolution with holes, done properly in JAX."""
