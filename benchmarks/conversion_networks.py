"""The ordinary networks that ``benchmarks.conversion`` converts: one is pretrained, the others are trained here.

    python -m benchmarks.conversion_networks train NAME --root DATA --folder FOLDER    writes FOLDER/NAME.safetensors

A network is trained from its name alone: initial weights, order of the images and augmentation come from seed 0.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import bitspike as bs
from bitspike.data import Batches, Flip, Normalization, Shift, load
from bitspike.models.resnet_cifar import resnet_cifar
from bitspike.models.vgg_ann import vgg11_ann
from bitspike.tasks.losses import CrossEntropy
from bitspike.train.optimizers import SGD
from bitspike.train.schedules import Cosine

CIFAR10 = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MNIST = Normalization((0.1307,), (0.3081,))


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network to convert, and how it is trained.

    Args:
        title: what tables call it.
        build: makes it, with initial weights.
        data: name of the data set.
        inputs: its normalization, on the host.
        epochs: of training; 0 for one whose weights are a file of somebody else.
        flip: whether training images are mirrored.
    """

    title: str
    build: Callable[[], nn.Module]
    data: str = "cifar10"
    inputs: Normalization = CIFAR10
    epochs: int = 0
    flip: bool = True

    def trained(self, file: Path) -> nn.Module:
        """Return it with the weights of a file: of :func:`train`, or of the public checkpoints."""
        model = self.build()
        if self.epochs:
            state: dict[str, Tensor] = load_file(file)
        else:
            kept = torch.load(file, weights_only=True, map_location="cpu")["state_dict"]
            state = {key.removeprefix("module."): value for key, value in kept.items()}
        model.load_state_dict(state)
        return model.eval()

    def images(self, root: Path, split: str, at: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return some inputs [N, C, H, W] and their labels [N]."""
        found = load(self.data, split, root=root)
        return self.inputs.to_input(found.images[at]), found.labels[at]

    def calibration(self, root: Path, count: int, seed: int) -> Tensor:
        """Return so many training inputs, drawn by a seed."""
        found = load(self.data, "train", root=root)
        at = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))[:count]
        return self.inputs.to_input(found.images[at])


def plain_cnn() -> nn.Module:
    """Build four convolutions with biases, average pools and two linear layers, without norms, for MNIST."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 49, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10)),
    )


def max_pool_vgg() -> nn.Module:
    """Build the convolutions of a VGG13 at a quarter of its width, with norms and maximum pools, for 32x32."""
    layers: list[nn.Module] = []
    inputs = 3
    for width in (16, 32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * inputs, 10))


NETWORKS = {
    "resnet20": Network(title="ResNet-20 (option A), pretrained", build=lambda: resnet_cifar(depth=20)),
    "resnet44": Network(
        title="ResNet-44 (option A), 8 channels", build=lambda: resnet_cifar(depth=44, width=8), epochs=3
    ),
    "vgg11": Network(title="VGG11, a quarter as wide", build=lambda: vgg11_ann(width=0.25), epochs=6),
    "vgg13-max": Network(title="VGG13 with maximum pools, a quarter as wide", build=max_pool_vgg, epochs=6),
    "cnn": Network(title="plain CNN", build=plain_cnn, data="mnist", inputs=MNIST, epochs=2, flip=False),
}


def train(name: str, root: Path, file: Path) -> float:
    """Train a network, write its weights and return its accuracy over the test images."""
    network = NETWORKS[name]
    torch.manual_seed(0)
    model = network.build()
    moves: list[Any] = [Shift(4 if network.data == "cifar10" else 2), *([Flip()] if network.flip else [])]
    batches = Batches(
        load(network.data, "train", root=root), 128, pixel_grid=network.inputs, augment=moves, shuffle=True
    )
    bs.fit(
        model, batches, epochs=network.epochs, seed=0, keep="last",
        optimizer=SGD(lr=0.1 if network.data == "cifar10" else 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True),
        schedule=Cosine(warmup_epochs=0.5), loss=CrossEntropy(label_smoothing=0.05),
    )  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), file)
    images, labels = network.images(root, "test", slice(None))
    with torch.inference_mode():
        right = torch.cat([model.eval()(part).argmax(1) for part in images.split(250)]) == labels
    return float(right.double().mean())


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversion_networks", description=__doc__)
    parser.add_argument("what", choices=["train"])
    parser.add_argument("name", choices=[name for name, network in NETWORKS.items() if network.epochs])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args(words)
    start = time.process_time()
    accuracy = train(args.name, args.root, args.folder / f"{args.name}.safetensors")
    print(f"{args.name}: {accuracy:.2%} of the test images, {time.process_time() - start:.0f} CPU seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
