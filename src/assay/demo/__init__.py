"""``make demo``: the whole life of a model on real data, computed live.

What lives here
    `story` (the acts, in their order), `census` (the people and the models), `traffic` (an endpoint
    and those who ask it), `stage` (how it is told).  Every step is a command of the ``assay``
    command line, run as printed.

May import
    The command line, as a user calls it, and what makes data and models; nothing imports it.

An attacker who owns it can
    tell a story that is not true, to whoever runs it.
"""
