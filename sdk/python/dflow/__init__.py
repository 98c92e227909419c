"""Functions over tables as steps of dflow pipelines."""

from dflow.command import command

__all__ = ["command"]
