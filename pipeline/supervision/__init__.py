"""Stages started, watched and brought back: the supervisor, its children, and what it judges them by.

supervisor (all of an instance) -> child (one stage through its restarts) -> forkserver (whose copies they are);
starving (does a silent stage hang, or wait for the processor?), blame (did a window kill it?), gpu (what it holds
there).
"""
