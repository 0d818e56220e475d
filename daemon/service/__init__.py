"""A worker, wired: the only floor that knows all the others.

`worker` is the process, `runtime` its event loop, `probes` its health; `processes` runs several on one machine.
"""
