"""The results of a run in words: the question, the answer, the proof, and how to repeat the run.

One function per section of a report; None where there is nothing to say.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import yaml

from bitspike.analysis.drawing import marks
from bitspike.analysis.drawing.markup import Html, code, html, join, section, table
from bitspike.analysis.drawing.words import MISSING, against, count, known, percent, points, size, span
from bitspike.analysis.report.facts import Facts, ReportDetail, fired_said, idle, listed, mapping, rows_of
from bitspike.errors import command

Record = Mapping[str, Any]


def header(record: Record, facts: Facts) -> Html:
    """Say which run this is and what it asks."""
    seed = record.get("seed")
    said = [str(record["finished"])[:19].replace("T", " ")] if record.get("finished") else []
    said += [f"seed {seed}"] if seed is not None else []
    return html(
        '<header><p class="kicker">{line}</p><h1>{name}</h1>{question}{changed}{paper}</header>',
        line=" · ".join(["bitspike run report", *said]),
        name=facts.name,
        question=html('<p class="question">{q}</p>', q=facts.question) if facts.question else Html(""),
        changed=_changed(facts),
        paper=_paper(mapping(mapping(record, "recipe"), "paper")),
    )


def _changed(facts: Facts) -> Html:
    """Say what this run does otherwise than the recipe whose name and question it bears."""
    if not facts.changed:
        return Html("")
    changes = join((code(change) for change in facts.changed), ", ")
    return html('<p class="question">This run changes the recipe: {c}</p>', c=changes)


def _paper(paper: Record) -> Html:
    if not paper:
        return Html("")
    url, title = str(paper.get("url") or ""), html("{t}", t=paper.get("title"))
    # A link is followed only by a click; anything but a web address stays text.
    named = html('<a href="{u}" rel="noreferrer">{t}</a>', u=url, t=title) if url.startswith("https://") else title
    said = ", ".join(str(paper[key]) for key in ("authors", "venue") if paper.get(key))
    return html('<p class="kicker">After <cite>{named}</cite>{said}</p>', named=named, said=f", {said}" if said else "")


def answer(record: Record, facts: Facts, detail: ReportDetail) -> Html:
    """Answer the question in one sentence, and compare it with the published and the expected figure."""
    metric = facts.wording.metric
    if facts.test is None:
        lead = html("This run has no test {metric}.", metric=metric)
    else:
        lead = html(
            facts.wording.lead + "{compared}",
            score=html('<strong class="n">{test}</strong>', test=percent(facts.test)),
            samples="the test images" if detail.samples is None else f"the {count(detail.samples)} test images",
            setting=facts.setting,
            compared=_compared(facts.test, facts),
        )
    tiles = [_tile("This run", percent(facts.test), f"test {metric}", first=True)] if facts.test is not None else []
    if facts.before is not None:
        tiles.append(_tile("Float network", percent(facts.before), "what was converted"))
    if facts.finetuned is not None:
        tiles.append(_tile(facts.trained_as.capitalize(), percent(facts.finetuned), "before the conversion"))
    if facts.published is not None:
        unlike = ", for the recipe without these changes" if facts.changed else ""
        tiles.append(_tile("Published", percent(facts.published), f"{facts.source or 'source not stated'}{unlike}"))
    if facts.expected is not None:
        reached = "" if facts.test is None else "reached" if facts.test >= facts.expected else "not reached"
        tiles.append(_tile("Expected at least", percent(facts.expected), reached))
    stored = mapping(record, "bytes")
    if (packed := known(stored.get("weights_packed"))) is not None:
        tiles.append(_tile("Weights", size(packed), _smaller(stored)))
    return section(
        "The answer", html('<p class="lead">{lead}</p><dl class="tiles">{tiles}</dl>', lead=lead, tiles=join(tiles))
    )


def _compared(test: float, facts: Facts) -> Html:
    said = []
    if facts.published is not None:
        said.append(f"{against(test, facts.published)} the published {percent(facts.published)}")
    if facts.expected is not None:
        said.append(f"{against(test, facts.expected)} the {percent(facts.expected)} that the recipe expects")
    return html(" That is {said}.", said=" and ".join(said)) if said else Html(" No published figure is stated for it.")


def _smaller(stored: Record) -> str:
    packed, plain = known(stored.get("weights_packed")), known(stored.get("weights_float32"))
    said = marks.ratio(packed, plain) if packed is not None and plain is not None else ""
    return f"{said} than float32" if said else "as stored"


def _tile(name: str, value: str, note: str, *, first: bool = False) -> Html:
    kind = Html(' class="first"') if first else Html("")
    return html("<div{k}><dt>{n}</dt><dd>{v} <small>{s}</small></dd></div>", k=kind, n=name, v=value, s=note)


def failed(record: Record) -> Html | None:
    """List the checks of the run that failed; None where all passed."""
    wrong = [check for check in rows_of(record, "checks") if check.get("passed") is False]
    if not wrong:
        return None
    rows = [(code(check.get("name")), str(check.get("message"))) for check in wrong]
    of = len(rows_of(record, "checks"))
    return section(
        html("{mark}This run fails", mark=Html('<span class="mark">✗</span>')),
        html(
            "<p><strong>{n} of its {of} check{s} failed</strong>; <code>bitspike run</code> ends with exit code 1.</p>"
            "{t}",
            n=count(len(wrong)),
            of=count(of),
            s="s" * (of != 1),
            t=table(["check", "what was found"], rows),
        ),
        kind="bad",
    )


def certificate(record: Record) -> Html:
    """Show the certificate: equal, the first difference, or none; green where every layer had something to prove."""
    proof = mapping(record, "certificate")
    if not proof:
        return section(
            "No certificate",
            Html(
                "<p>This run was not lowered to integers and verified: nothing is claimed about what a chip would"
                " compute.</p>"
            ),
        )
    spikes, membranes = count(proof.get("spikes_compared")), count(proof.get("membranes_compared"))
    fired = fired_said(proof)
    compared = html(
        '<b class="n">{s}</b> spikes{fired} and <b class="n">{m}</b> membrane potentials of <b class="n">{n}</b> images'
        " were compared.{clipped}",
        clipped=html(" {n} input values were clipped to their grid.", n=count(proof["inputs_clipped"]))
        if known(proof.get("inputs_clipped"))
        else "",
        s=spikes,
        fired=html(', <b class="n">{f}</b> of them fired,', f=fired) if fired else "",
        m=membranes,
        n=count(proof.get("samples")),
    )
    nothing = fired == "none" and known(proof.get("spikes_compared")) != 0
    always = "every neuron fired at every step" if fired == "all" else ""
    if proof.get("equal") is True and (same := idle(record) or ("no neuron fired" if nothing else always)):
        return section(
            f"Certificate: equal, but {'nothing fired' if nothing else 'a layer tells nothing'}",
            html(
                "<p>{compared} All are equal, but <strong>{same}</strong>: there, what is the same for every image"
                " was compared with itself. Mend that first, then prove the network again.</p>",
                compared=compared,
                same=same,
            ),
            kind="bad",
        )
    if proof.get("equal") is True:
        return section(
            html("{mark}Certificate: 100 % equal", mark=Html('<span class="mark">✓</span>')),
            html(
                "<p>{compared} All are equal.</p><p>An interpreter that knows whole numbers only and reads nothing but"
                " the saved network repeated every value, so any device that does this integer arithmetic gives the"
                " same answers.</p>",
                compared=compared,
            ),
            kind="good",
        )
    first = mapping(proof, "first_difference")
    names = ("layer", "step", "index", "quantity", "expected", "found")
    rows = [(name, code(first[name])) for name in names if name in first]
    where = (
        table(["first difference", ""], rows)
        if rows
        else Html("<p>The place of the first difference was not recorded.</p>")
    )
    return section(
        html("{mark}Certificate: not equal", mark=Html('<span class="mark">✗</span>')),
        html(
            "<p>{compared} <strong>They differ.</strong> The saved network does not compute what was measured here:"
            " do not put it on a device.</p>{where}",
            compared=compared,
            where=where,
        ),
        kind="bad",
    )


def agreement(record: Record, facts: Facts) -> Html | None:
    """Say how far the integer network is from the float training graph."""
    measured = mapping(record, "agreement")
    if not measured:
        return None
    spikes, difference = known(measured.get("spikes")), known(measured.get(f"{facts.wording.metric}_difference"))
    meaning = (
        "Every spike is the same: lowering changed nothing."
        if spikes == 1.0
        else "Lowering rounds thresholds, biases and leaks to integers; this is the price of it."
    )
    over = f" over {count(measured['samples'])} images" if known(measured.get("samples")) is not None else ""
    lowered = ""
    if facts.lowered is not None:
        trained = "" if facts.test is None else f", the trained network {percent(facts.test)}"
        lowered = f" It reaches {percent(facts.lowered)} on the test images{trained}."
    return section(
        "Against the training graph",
        html(
            "<p>Separately from the certificate: the integer network and the floating-point training graph agree"
            ' in <b class="n">{spikes}</b> of the spikes{over}; their {metric} differs by'
            ' <b class="n">{difference}</b>.{lowered}</p><p class="soft">{meaning}</p>',
            spikes=percent(spikes),
            over=over,
            metric=facts.wording.metric,
            difference=MISSING if difference is None else points(difference),
            lowered=lowered,
            meaning=meaning,
        ),
    )


def chip(record: Record) -> Html | None:
    """Say whether the network fits the chip that its recipe names, and list what does not."""
    check = mapping(record, "chip")
    if not check:
        return None
    wrong = [v for v in rows_of(check, "violations") if v.get("severity") == "error"]
    if check.get("passed") is True:
        text = html("<p>Every rule of chip <code>{chip}</code> is kept.</p>", chip=check.get("chip"))
        return section("It fits its chip", text, kind="good")
    rows = [(code(v.get("path")), str(v.get("code")), str(v.get("found")), str(v.get("rule"))) for v in wrong]
    return section(
        "It does not fit its chip",
        html(
            "<p>{n} violations of the rules of chip <code>{chip}</code>; <code>bitspike check</code> says what would"
            " help.</p>{t}",
            n=count(len(wrong)),
            chip=check.get("chip"),
            t=table(["layer", "code", "found", "rule"], rows),
        ),
        kind="bad",
    )


def ledger(record: Record) -> Html | None:
    """Say where a converted network loses most, and where the whole ledger is."""
    summary = mapping(record, "ledger")
    if not summary:
        return None
    advice = rows_of(summary, "advice")
    rows = [
        (str(a.get("term")), percent(a.get("share"), 0), " or ".join(map(str, listed(a, "options")))) for a in advice
    ]
    return section(
        "Where it loses",
        html(
            '<p>Between the float network and this one the outputs differ by <b class="n">{gap}</b> of their size,'
            ' on {n} images. <a href="ledger/ledger.html">The ledger</a> accounts for it layer by layer.</p>{t}',
            gap=percent(known(summary.get("measured"))),
            n=count(summary.get("samples")),
            t=table(["cause", "share", "try"], rows, numbers=(1,)) if rows else Html(""),
        ),
    )


def again(record: Record) -> Html:
    """Say how to run it again, on what it ran, and with which values."""
    if record.get("made_by"):
        return _made_by(str(record["made_by"]), record, str(record.get("again") or "bitspike verify network"))
    began = record.get("command")
    repeat = str(record.get("again") or "bitspike run recipe.yaml --out ../again")
    recipe = json.loads(json.dumps(record.get("recipe"), default=str))  # plain values only, whatever came in
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    rows = [(name, str(value)) for name, value in mapping(record, "environment").items()]
    rows += [("commit", str(record["commit"]))] if record.get("commit") else []
    times = [(name, span(value)) for name, value in mapping(record, "seconds").items() if known(value) is not None]
    return section(
        "Run it again",
        join(
            [
                html("<p>This run was begun by:</p><pre>{command}</pre>", command=began) if began else Html(""),
                _repeated(repeat, proven=bool(mapping(record, "certificate"))),
                Html('<div class="pair">'),
                html("<div><h3>Environment</h3>{t}</div>", t=table(["", ""], rows)) if rows else Html(""),
                html("<div><h3>Time</h3>{t}</div>", t=table(["", ""], times, numbers=(1,))) if times else Html(""),
                Html("</div>"),
                html("<details><summary>The whole recipe</summary><pre>{text}</pre></details>", text=text)
                if recipe
                else Html(""),
            ]
        ),
    )


def _repeated(repeat: str, *, proven: bool) -> Html:
    """Give the commands that run it again; those of earlier versions are of the folder of the report."""
    folder = PurePath(next((word for word in _words(repeat) if word.endswith("/recipe.yaml")), "recipe.yaml")).parent
    placed = folder.is_absolute()
    return html(
        '<p>To repeat it{where}:</p><pre>{repeat}{verify}</pre><p class="soft">The recipe next to this file holds every'
        " value and the seed of this run.{moved}</p>",
        where="" if placed else ", in the folder of this report",
        repeat=repeat,
        verify=f"\n{command('verify', folder / 'network')}" if proven else "",
        moved=html(" Where the folder was moved, put its new place for {f}.", f=code(str(folder))) if placed else "",
    )


def _words(line: str) -> list[str]:
    """Return the words of a command; none of what is no command line."""
    try:
        return shlex.split(line)
    except ValueError:
        return []


def _made_by(function: str, record: Record, proven: str) -> Html:
    """Say of a network in memory what its figures were made with, and how its integers are proven again."""
    rows = [(name, str(value)) for name, value in mapping(record, "environment").items()]
    return section(
        "Where it comes from",
        html(
            "<p>{function} made this report of a network in memory. Its integers lie next to it:</p>"
            "<pre>{proven}</pre>{t}",
            function=code(function),
            proven=proven,
            t=table(["", ""], rows),
        ),
    )
