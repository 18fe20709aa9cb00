"""Batches of 500 over 4 connections until they are projected, against single posts to the bare server."""

from __future__ import annotations

from functools import partial

from benchmarks.comparison import RATIO, Comparison, Shown
from benchmarks.posts import TWO_WORKERS, Load, measure_posts

# As many events as batch.lua puts into a body.
BATCHES_OF_500 = Load("batch.lua", "application/cloudevents-batch+json", events_a_post=500, connections=4)

BATCHES = Comparison(
    "batches",
    "events in batches of 500 until projected",
    [Shown(RATIO, at_least=0.8)],
    partial(measure_posts, load=BATCHES_OF_500, workers=TWO_WORKERS),
)
