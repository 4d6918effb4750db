"""Training of image classifiers: pure steps, wrappers that run them, one loop, and what it leaves.

It knows no model and no data set by name; programs bring both. Each module is one room:

- `functional`: a Flax NNX module as a pure function and plain dictionaries
- `losses`, `mixup`, `schedules`, `optimizers`, `precision`, `state`, `step`, `epoch`: the pure
  mathematics of training
- `wrappers`: the ways in which the pure functions reach the hardware, one device or many
- `feeds`: how the images do, whole or in chunks
- `hosts`: what several processes must agree on
- `loop`: `fit`, the only loop over epochs, the only clock; with `plan`, `progress`, `interrupt`
- `folder`, `checkpoint`, `manifest`, `record`, `pictures`: what a run leaves on disk
- `device`, `flags`, `statistics`: which devices; a config from the command line; numbers over runs
"""
