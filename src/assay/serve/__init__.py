"""An endpoint for one model version: the Open Inference Protocol v2 over HTTP.

What lives here
    `protocol` (requests and answers, strictly parsed), `app` (the ASGI application),
    `inference` (what runs inside the confined worker).

May import
    Floor 1 (formats, isolation) and floor 0.  It is given a callable that says who may ask and a
    confined worker that answers; it never opens a store, a key or the ledger.

An attacker who owns it can
    answer wrongly, and read the requests of this endpoint, until it is stopped; not reach other
    models, keys or the store.
"""
