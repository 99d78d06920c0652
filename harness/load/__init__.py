"""Load: what is driven against a cluster, and the record of it."""
