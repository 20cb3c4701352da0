"""The benchmark: a running pipeline, driven by clients as users would drive it, and what that costs.

clients.py   N real-time sessions, or requests flat out, in a process of their own
meter.py     processor time and memory of the pipeline's processes, and their probes
report.py    what one run found, as JSON, as a table, as a plot
__main__.py  the command line
"""
