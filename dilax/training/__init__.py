"""Training: pure steps, parallelism, one loop, and what a run leaves on disk.

Nothing here knows a network or a data set by name; programs bring both. In order of use:
``functional`` splits a Flax NNX module into a pure function and its arrays, a ``Task`` says how its
outputs are judged, ``make_train_step`` and ``make_train_steps`` build a pure training step and a
scan over many, ``make_parallelism`` compiles the scan for one device or several, a loader sends the
examples, and ``fit`` runs the epochs. It saves checkpoints, from which a run resumes exactly.
"""

from dilax.training._boxes import box_iou, non_maximum_suppression
from dilax.training._checkpoints import (
    CheckpointError,
    Checkpoints,
    MismatchError,
    SaveError,
)
from dilax.training._detection import Boxes, Detection, Detections
from dilax.training._devices import (
    describe_device,
    find_devices,
    initialize_distributed,
    is_main_process,
    share_batch,
)
from dilax.training._epoch import (
    Evaluate,
    Plan,
    TrainSteps,
    make_evaluate,
    make_train_steps,
    shuffled_batches,
)
from dilax.training._logs import History, TensorBoardLog
from dilax.training._loop import DivergenceError, Fitted, Position, fit
from dilax.training._losses import (
    balanced_class_weights,
    blend,
    correct,
    cross_entropy,
    draw_shares,
    swap_pairs,
)
from dilax.training._network import (
    LOSS_SCALES,
    Apply,
    Functional,
    Path,
    compute_in,
    early_decay,
    freeze,
    functional,
    keep_statistics,
    load_into,
    mean_of_mirrored,
)
from dilax.training._optimizers import (
    Mask,
    adamw,
    clipped,
    cosine,
    everything,
    except_frozen,
    is_kernel,
    mixes_features,
    muon,
    nesterov,
    one_cycle,
    scaled,
)
from dilax.training._parallelism import (
    Jit,
    Loader,
    Parallelism,
    Pmap,
    ResidentLoader,
    StreamingLoader,
    make_parallelism,
    unreplicate,
)
from dilax.training._pictures import (
    draw_confusion_matrix,
    draw_feature_maps,
    draw_learning_curves,
    draw_mistakes,
    draw_predictions,
)
from dilax.training._quantization import quantize_aware, round_kernels
from dilax.training._records import (
    CHECKPOINTS_FOLDER,
    CONFIG_FILE,
    METRICS_FILE,
    SUMMARY_FILE,
    TABLE_FILE,
    TENSORBOARD_FOLDER,
    RunRecord,
    check_run_folder,
    class_accuracies,
    combine_records,
    confusion_matrix,
    git_commit,
    make_run_folder,
    over_seeds,
    read_json,
    versions,
    write_json,
)
from dilax.training._restoration import Restoration, luma, psnr, ssim
from dilax.training._segmentation import Segmentation, intersection_over_union
from dilax.training._sparsity import SparseState, sparse
from dilax.training._state import TrainState, Weights, create_state
from dilax.training._step import (
    Augment,
    EvalStep,
    Prepare,
    TrainOptions,
    TrainStep,
    make_eval_step,
    make_train_step,
)
from dilax.training._tagging import Tagging, TagScores
from dilax.training._task import Classification, Task
from dilax.training._terminal import Interrupted
from dilax.training._totals import Batch, Fault, Totals
from dilax.training._trained import Trained, read_trained

__all__ = [
    # a network as a pure function
    "Apply",
    "Functional",
    "Path",
    "functional",
    "load_into",
    "freeze",
    "keep_statistics",
    "mean_of_mirrored",
    "compute_in",
    "quantize_aware",
    "round_kernels",
    "early_decay",
    "LOSS_SCALES",
    # what a network is trained to do
    "Task",
    "Classification",
    "Segmentation",
    "Detection",
    "Boxes",
    "Detections",
    "box_iou",
    "non_maximum_suppression",
    "Tagging",
    "TagScores",
    "Restoration",
    # losses and mixup
    "cross_entropy",
    "correct",
    "balanced_class_weights",
    "draw_shares",
    "swap_pairs",
    "blend",
    # optimisers: which arrays decay, and schedules
    "adamw",
    "nesterov",
    "muon",
    "clipped",
    "except_frozen",
    "scaled",
    "sparse",
    "SparseState",
    "Mask",
    "is_kernel",
    "mixes_features",
    "everything",
    "one_cycle",
    "cosine",
    # state
    "TrainState",
    "Weights",
    "create_state",
    # examples, and sums over them
    "Batch",
    "Totals",
    "Fault",
    # one step
    "Augment",
    "EvalStep",
    "Prepare",
    "TrainOptions",
    "TrainStep",
    "make_train_step",
    "make_eval_step",
    # many steps
    "Evaluate",
    "Plan",
    "TrainSteps",
    "make_train_steps",
    "make_evaluate",
    "shuffled_batches",
    # devices and processes
    "find_devices",
    "share_batch",
    "describe_device",
    "initialize_distributed",
    "is_main_process",
    # parallelism and loaders
    "Parallelism",
    "Jit",
    "Pmap",
    "make_parallelism",
    "unreplicate",
    "Loader",
    "ResidentLoader",
    "StreamingLoader",
    # the loop
    "fit",
    "Fitted",
    "Position",
    "DivergenceError",
    "Interrupted",
    "History",
    "TensorBoardLog",
    # checkpoints
    "Checkpoints",
    "CheckpointError",
    "MismatchError",
    "SaveError",
    "Trained",
    "read_trained",
    # the folder of a run
    "CHECKPOINTS_FOLDER",
    "CONFIG_FILE",
    "METRICS_FILE",
    "SUMMARY_FILE",
    "TABLE_FILE",
    "TENSORBOARD_FOLDER",
    "check_run_folder",
    "make_run_folder",
    "read_json",
    "write_json",
    # records and statistics
    "RunRecord",
    "combine_records",
    "versions",
    "git_commit",
    "over_seeds",
    "confusion_matrix",
    "class_accuracies",
    "intersection_over_union",
    "luma",
    "psnr",
    "ssim",
    # pictures
    "draw_learning_curves",
    "draw_confusion_matrix",
    "draw_mistakes",
    "draw_feature_maps",
    "draw_predictions",
]
