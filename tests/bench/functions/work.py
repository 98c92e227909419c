"""What the benchmark's functions do, a row and a batch at a time: in the sandbox, and in plain Python beside it."""

import json
import re

try:
    from dflow import batch
except ImportError:
    batch = lambda function: function

DIGITS = re.compile(r"[0-9]+")


def upper(text):
    return text.upper()


def token2(text):
    return text.split(" ", 2)[1]


def regex(text):
    return DIGITS.sub("#", text)


def field(text):
    return json.loads(text)["name"]


@batch
def upper_batch(text):
    return [each.upper() for each in text]


@batch
def token2_batch(text):
    return [each.split(" ", 2)[1] for each in text]


@batch
def regex_batch(text):
    replace = DIGITS.sub
    return [replace("#", each) for each in text]


@batch
def field_batch(text):
    loads = json.loads
    return [loads(each)["name"] for each in text]
