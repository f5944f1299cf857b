"""Train a network: the loop, its settings (optimizers, schedules, losses), and its records and checkpoints."""

from bitspike.tasks.losses import CrossEntropy, MeanSquare
from bitspike.tasks.spike_trains import SpikeTrains
from bitspike.train.average import EMA
from bitspike.train.distill import Distillation
from bitspike.train.evaluate import Evaluation, by_step, evaluate
from bitspike.train.loop import fit
from bitspike.train.observe import BatchRecord, EpochRecord, History, Observer, Observers
from bitspike.train.optimizers import SGD, AdamW, ClipNorm, ClipValue
from bitspike.train.schedules import Constant, Cosine, Steps

__all__ = [
    "EMA",
    "SGD",
    "AdamW",
    "BatchRecord",
    "ClipNorm",
    "ClipValue",
    "Constant",
    "Cosine",
    "CrossEntropy",
    "Distillation",
    "EpochRecord",
    "Evaluation",
    "History",
    "MeanSquare",
    "Observer",
    "Observers",
    "SpikeTrains",
    "Steps",
    "by_step",
    "evaluate",
    "fit",
]
