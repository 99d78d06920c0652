"""What is done to a cluster: one file per fault (``registry`` lists them), the clock, the watchdog.

Nothing is imported here: the watchdog is a module of this package, and an idle one should weigh next to nothing.
"""
