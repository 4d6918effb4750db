"""A reader of what TensorBoard reads."""

from tensorboardX.proto import event_pb2

from dilax.data import _tfds


def events(folder):
    """The values of each tag by step, of all files in the folder, as a reader finds them."""
    found = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        for record in _tfds._records(path):
            event = event_pb2.Event.FromString(record)
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found
