"""Containers: the engine, the images, and a running cluster of Erlang nodes. The only room that imports docker."""
