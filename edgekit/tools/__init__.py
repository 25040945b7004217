"""Tools: vendors' own benchmark programs.  One module each; this page is their contract.

A user has such a program, edgekit drives it and reads its answer (`edgekit/benchmarks/vendor.py`).
The module holds::

    TITLE: str                      # the engine's name in a record
    FORMATS: tuple[str, ...]        # of the models that it takes
    PROGRAM: str                    # the program's name
    WHERE: str                      # how to get it
    TRIED: str | None               # None: tests run it; else what must be known of that
    TAKES: frozenset[str]           # fields of a job that it honours, beside runs, min_s and warmup
    def command(program: str, job: Job, result: str) -> list[str]
    def lines(said: str, result: str, job: Job) -> list[dict]

and may hold ``unavailable() -> UnavailableError | None``, ``HERE = True`` for one that only this
machine can start, and ``MORE``, what ``--tool NAME=...`` means if it is not the program's path.

`command` says how the program is started; it may write a file called `result`.  `lines` reads all
that it wrote, to its outputs and to that file, and returns the lines that a runner of edgekit says
(`edgekit/benchmarks/job.py`).  A tool that tells no samples says ``{"event": "reported"}`` with its
own statistics: ``count``, ``mean_s``, and as many of ``median_s``, ``min_s``, ``max_s``,
``std_s``, ``p5_s``, ``p95_s`` as it gives.
"""
