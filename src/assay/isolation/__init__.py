"""Isolation: run one function, or one long-lived worker, in a confined process.

What lives here
    `assay.isolation.run.run` (one call), `assay.isolation.worker.Worker` (many calls),
    `assay.isolation.probe.probe` (what this machine offers) and the pieces they are made of:
    `landlock` (which files may be read), `seccomp` (which system calls may be made), `identity`
    (a user id of its own, no capabilities), `limits` (how much) and `child` (the program that
    confines itself, then calls the function).  `grants` says what a function may do besides,
    `granted` which system calls that takes, `scratch` reads what it wrote, `group` bounds and ends
    the processes it started.  `run`, `worker` and `probe` are modules here.

May import
    Floor 0 and the standard library.  `landlock`, `seccomp`, `granted`, `identity` and `child` run
    inside the confined process before it is confined, so they import the standard library alone.

An attacker who owns it can
    run model and pipeline code with the rights of the calling process.  An attacker who owns only
    the *confined code* can answer wrongly, answer late or not at all, learn the names, sizes and
    times of files (but not their contents), and use the processor and memory it was given.  Code
    that was granted a scratch folder can fill it; code that was granted a port can also send
    anything it can read to anybody, by UDP.
"""
