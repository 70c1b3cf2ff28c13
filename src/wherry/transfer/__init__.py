"""The one verb: copy the graph under a root from a source to a sink."""
