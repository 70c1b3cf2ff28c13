"""Copying the graph of an image from a source to a sink."""
