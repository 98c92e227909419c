"""Learns a label from features. The model is one row, pickled."""

import pickle

import numpy
from dflow import command
from sklearn.linear_model import LogisticRegression


@command
def train(table, settings):
    features, labels = numpy.array(table["features"].to_pylist()), table["label"].to_numpy()
    model = LogisticRegression(max_iter=settings["iterations"]).fit(features, labels)
    accuracy = model.score(features, labels)
    print(f"learned from {len(labels)} rows, accuracy {accuracy:.4f}")
    return {"dataset": settings["dataset"], "model": pickle.dumps(model), "learned_from": len(labels), "accuracy": accuracy}
