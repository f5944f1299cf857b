"""What other tools call the arguments that have another name here: SpikingJelly, snnTorch, Norse, sinabs, torch, Keras.

Recipes and functions read these tables where they meet a word that they do not know.
"""

from __future__ import annotations

_SAME: dict[str, tuple[str, ...]] = {
    "decay": ("beta", "alpha_mem", "leak_rate"),
    "threshold": ("v_th", "v_threshold", "vth", "spike_threshold", "thr", "thresh", "theta", "mem_threshold"),
    "steps": ("timesteps", "time_steps", "num_steps", "n_steps", "T", "t", "time_window", "sim_len", "time_step"),
    "lr": ("learning_rate",),
    "epochs": ("num_epochs", "n_epochs", "epoch", "max_epochs"),
    "batch_size": ("batch", "batchsize"),
    "bits": ("weight_bits", "num_bits", "n_bits", "weight_bit_width", "bit_width", "bit"),
    "train_loader": ("loader", "dataloader", "train_dataloader", "train_data"),
    "validation": ("val", "val_loader", "valid_loader", "validation_loader", "val_dataloaders", "validation_data"),
    "optimizer": ("optim", "optimiser"),
    "schedule": ("scheduler", "lr_scheduler"),
    "loss": ("criterion", "loss_fn", "loss_function"),
    "clip_gradient": ("grad_clip", "clip_grad", "gradient_clip_val", "max_norm"),
    "observer": ("callbacks", "callback"),
    "calibrate": ("calibration", "calibration_data", "calibration_loader", "calib_loader"),
    "example": ("example_input", "example_inputs", "sample", "dummy_input"),
    "quantize": ("quantizer", "weight_quant", "weight_quantizer", "scheme", "weights"),
    "alpha": ("slope", "sharpness"),
    "v_reset": ("reset_potential", "v_rest"),
    "in_channels": ("input_channels",),
    "num_classes": ("n_classes", "classes", "out_features"),
}
SAME = {word: ours for ours, words in _SAME.items() for word in words}
"""By the word of another tool: the name of the same thing here, with the same value."""

_SURROGATE = ("surrogate", "surrogate=bs.ArcTan(alpha=2.0), or Sigmoid, Triangle, Rectangle, PiecewiseExponential")
_STATE = (
    "threshold",
    "leave it out: a call takes [T, N, ...] from rest, and neuron.scan(x, state) keeps a state",
)
OTHERWISE: dict[str, tuple[str, str]] = {
    "tau": (
        "decay",
        "bs.LIF.from_tau({value}), whose decay is 1 - 1/tau; decay_input=True scales its input by 1/tau",
    ),
    "tau_mem": ("decay", "decay=math.exp(-1 / {value}) for a time constant in steps"),
    "surrogate_function": _SURROGATE,
    "surrogate_grad_fn": _SURROGATE,
    "surrogate_gradient": _SURROGATE,
    "spike_grad": _SURROGATE,
    "step_mode": _STATE,
    "init_hidden": _STATE,
    "output": _STATE,
    "backend": ("threshold", "leave it out: fused loops are taken where there are some"),
    "store_v_seq": ("threshold", "leave it out: bs.plot.membrane(model, images) shows potentials"),
    "learn_beta": ("decay", "bs.PLIF(tau=2.0), whose decay is learned"),
    "learn_threshold": ("threshold", "leave it out: the gain of a norm before the neuron learns the same"),
    "reset_mechanism": ("reset", 'reset="soft" for "subtract", reset="hard" for "zero"'),
    "reset_delay": ("reset", "leave it out: the reset follows its spike in the same step"),
}
"""By the word of another tool: the argument that has to be there for the advice to fit, and the advice."""
