"""Files of trained weights that others have published and recipes name: where they are, and what they hold to the bit.

They are fetched where a user asks for it (``bitspike fetch``), never by a run.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedWeights:
    """A file of weights that anybody can fetch.

    Args:
        name: of the file, as recipes name it.
        about: what it holds.
        address: of the file, at one commit of its repository.
        sha256: of its bytes, 64 hexadecimal digits.
        size: in bytes.
        source: who made it, and under which licence.
    """

    name: str
    about: str
    address: str
    sha256: str
    size: int
    source: str


_RESNETS = (
    "https://raw.githubusercontent.com/akamaster/pytorch_resnet_cifar10/"
    "d5489e8995e81e91ce6b1d69dcc98ad579b0b153/pretrained_models/"
)


def _resnet(depth: int, sha256: str, size: int) -> PublishedWeights:
    # These files have the beginning of their SHA-256 in their names, as torch.hub expects it.
    name = f"resnet{depth}-{sha256[:8]}.th"
    about, source = f"ResNet-{depth} for CIFAR-10 in float32", "Y. Idelbayev, BSD 2-Clause"
    return PublishedWeights(name, about, _RESNETS + name, sha256, size, source)


PUBLISHED = {
    weights.name: weights
    for weights in (
        _resnet(20, "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8", 1_099_231),
        _resnet(32, "d509ac1820d7f25398913559d7e81a13229b1e7adc5648e3bfa5e22dc137f850", 1_890_043),
        _resnet(44, "014dd6541728a1c700b1642ab640e211dc6eb8ed507d70697458dc8f8a0ae2e4", 2_680_855),
        _resnet(56, "4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367", 3_471_733),
    )
}
"""By name of the file."""
