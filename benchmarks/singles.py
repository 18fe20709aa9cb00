"""Single posts over 64 connections until they are projected, in two workers and in one."""

from __future__ import annotations

from functools import partial

from benchmarks.comparison import RATIO, Comparison, Shown
from benchmarks.place import CONNECTIONS
from benchmarks.posts import ONE_WORKER, TWO_WORKERS, Load, measure_posts

SINGLES = Load("post.lua", "application/cloudevents+json", events_a_post=1, connections=CONNECTIONS)

SINGLES_TWO_WORKERS = Comparison(
    "singles_two_workers",
    "single posts until projected, two workers",
    [Shown(RATIO, at_least=0.33)],
    partial(measure_posts, load=SINGLES, workers=TWO_WORKERS),
)
SINGLES_ONE_WORKER = Comparison(
    "singles_one_worker",
    "single posts until projected, one worker",
    [Shown(RATIO, at_least=0.28)],
    partial(measure_posts, load=SINGLES, workers=ONE_WORKER),
)
