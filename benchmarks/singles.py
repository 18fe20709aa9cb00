"""Single posts over 64 connections until they are projected, in two workers and in one."""

from __future__ import annotations

from functools import partial

from benchmarks.comparison import RATIO, Comparison, Options, Round, Shown
from benchmarks.place import CONNECTIONS, Place
from benchmarks.posts import ONE_WORKER, SECONDS, TWO_WORKERS, Load, measure_posts
from benchmarks.textbook import measure_textbook

SINGLES = Load("post.lua", "application/cloudevents+json", events_a_post=1, connections=CONNECTIONS)


async def measure_beside_the_textbook(place: Place, options: Options) -> Round:
    """Two workers, and the textbook stack under the same load."""
    ours = await measure_posts(place, options, load=SINGLES, workers=TWO_WORKERS)
    per_second, accepted, cpu = await measure_textbook(place, options.seconds or SECONDS)
    figures = {
        "times_textbook": ours.figures["projected_per_s"] / per_second,
        "textbook_per_s": per_second,
        "textbook_accepted_per_s": accepted,
    }
    return Round({**ours.figures, **figures}, {**ours.cpu, "textbook": cpu})


SINGLES_TWO_WORKERS = Comparison(
    "singles_two_workers",
    "single posts until projected, two workers",
    [
        Shown(RATIO, at_least=0.33),
        Shown("times_textbook", at_least=12.0, label="single posts, of the textbook stack"),
        Shown("textbook_per_s"),
    ],
    measure_beside_the_textbook,
)
SINGLES_ONE_WORKER = Comparison(
    "singles_one_worker",
    "single posts until projected, one worker",
    [Shown(RATIO, at_least=0.28)],
    partial(measure_posts, load=SINGLES, workers=ONE_WORKER),
)
