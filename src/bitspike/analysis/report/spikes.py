"""Test images in a report, spike by spike: a strip of spikes for each layer, and the potential of one neuron of it."""

from __future__ import annotations

from bitspike.analysis.drawing import marks
from bitspike.analysis.drawing.markup import Html, html, join, section
from bitspike.analysis.drawing.words import count, percent
from bitspike.analysis.report.facts import ImageShown, ReportDetail

_LAYERS = 12
"""So many layers of an image are open."""


def spikes(detail: ReportDetail) -> Html | None:
    """Show test images, the spikes that they cause, and how potentials move; the first image is open."""
    images = [image for image in detail.images if image.spikes]
    if not images:
        return None
    steps = max(len(fired) for image in images for fired in image.spikes.values())
    rule = (
        "Every layer is a strip: a column per neuron, a row per time step, from the first (top) to the last"
        f" ({steps}). Of large layers only some neurons are shown, at even distances."
    )
    if any((fired < 0).any() for image in images for fired in image.spikes.values()):
        rule += " Spikes of −1 are drawn thinner and in the second color."
    if any(image.potentials for image in images):
        rule += (
            " The line after it is the potential of one neuron, the one that starts and stops firing most often, before"
            " its reset; its threshold is dashed. Marks above the line are spikes, marks below it are spikes of −1."
        )
    first, *others = [_image(image, share=len(images)) for image in images]
    names = [f"Another test image, “{image.label}”" if image.label else "Another test image" for image in images[1:]]
    more = (
        html("<details><summary>{name}</summary>{body}</details>", name=name, body=body)
        for name, body in zip(names, others, strict=True)
    )
    title = "One image, spike by spike" if len(images) == 1 else f"{len(images)} images, spike by spike"
    return section(title, html('<p class="soft">{rule}</p>{first}{more}', rule=rule, first=first, more=join(more)))


def _image(image: ImageShown, *, share: int) -> Html:
    said = f"The network sees “{image.prediction}”" if image.prediction else ""
    if said and not image.label:
        said += "."
    elif said:
        said += ", and that is right." if image.prediction == image.label else f"; it is “{image.label}”."
    alt, sides = f"test image, {image.label}", 256 if share == 1 else 128
    pixels = Html("") if image.pixels is None else marks.picture(image.pixels, alt, most=sides)
    rasters = marks.thinned(image.spikes, marks.SPIKES // share)
    strips = [
        html(
            '<div class="strip"><p><code>{name}</code><span class="soft n">{n} neurons, {rate}</span></p>'
            '<div class="traces">{svg}{potential}</div></div>',
            name=name,
            n=count(fired.shape[1]),
            rate=percent(float((fired != 0).mean()) if fired.size else None, 1),
            svg=marks.raster(fired, name),
            potential=marks.membrane(**vars(image.potentials[name]), label=name)
            if name in image.potentials
            else Html(""),
        )
        for name, fired in rasters.items()
    ]
    rest = strips[_LAYERS:]
    more = html("<details><summary>{n} more layers</summary>{s}</details>", n=len(rest), s=join(rest))
    return html(
        '<div class="shown">{pixels}<p>{said}</p></div>{strips}{more}',
        pixels=pixels,
        said=said,
        strips=join(strips[:_LAYERS]),
        more=more if rest else Html(""),
    )
