"""Checks that say what they saw."""

import time


class Failed(Exception):
    """Something is not as a client needs it."""


def is_true(condition, what):
    if not condition:
        raise Failed(what)


def equal(actual, expected, what):
    if actual != expected:
        raise Failed(f"{what}: expected {shorten(expected)}, got {shorten(actual)}")


def contains(text, part, what):
    if part not in text:
        raise Failed(f"{what}: {shorten(part)} is not in {shorten(text)}")


def eventually(what, probe, seconds=20):
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(0.05)
    return answer


def shorten(value, limit=600):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-limit // 2 :]}"
