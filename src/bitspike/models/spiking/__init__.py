"""Spiking networks of the papers, as functions that share these arguments.

    steps: T; where a network says so, None makes the same network without time, encoder and read-out.
    num_classes: K.
    in_channels: C of the images.
    image_size: height and width, or one number for both; each network says which multiples it takes.
    neuron: makes each neuron, or each activation of a network without time.
    norm: makes the norm after a layer from its number of channels; None for none. A bare class of bitspike's norms may
        look at the neuron after it, as ThresholdBatchNorm does for its threshold.
    readout: makes what turns [T, N, K] into [N, K].
    encoder: makes what turns [N, C, H, W] into [T, N, C, H, W], from T.
    width: multiplies the channels and the hidden features.

Shape: [N, C, H, W] to [N, K]. A ConstraintError says that the image size does not fit, or that a value is not allowed.
"""
