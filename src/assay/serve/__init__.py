"""An endpoint for one model version: the Open Inference Protocol v2 over HTTP.

What lives here
    `protocol` (requests and answers, strictly parsed), `endpoint` (what is served and what it may
    call), `app` (the ASGI application), `requests`, `replies` and `metrics` (what a caller sends
    and is told), `inference` (what runs inside the confined worker), `host` (keeps that worker
    alive), `following` (lets another version take over), `listen` and `connections` (uvicorn,
    bounded).

May import
    Floor 1 (formats, isolation) and floor 0; uvicorn in `listen` and `connections` alone.  It is
    given callables that say who may ask, record what was answered and take feedback; it never
    opens a store, a key or the ledger.

An attacker who owns it can
    answer wrongly, and read the requests of this endpoint, until it is stopped; not reach other
    models, keys or the store.
"""
