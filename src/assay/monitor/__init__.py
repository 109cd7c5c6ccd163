"""What runs is watched: the prediction log, profiles, detectors, feedback, alerts, retraining.

What lives here
    `spool`, `segments`, `log`, `subjects` (every answered prediction, durable and sealed), `edges`,
    `layouts`, `profiles`, `effects`, `performance`, `plans`, `baseline` (what was normal, and how
    it is watched), `detectors` (alarms with a promise), `windows` and `watch` (from counts to
    signals, a pure function of what is on the ledger), `feedback` and `labels` (late and wrong ones
    too), `alerts`, `incidents`, `channels` (who is told), `changes` and `challenge` (what may be
    retrained, and whether it is better), `report` (to look at).

May import
    Floor 1 (evidence, store, isolation, formats) and floor 0; numpy, scipy and Polars only where
    rows are looked at.  It is given rows and statements and returns figures and statements-to-be;
    it decides nothing.

An attacker who owns it can
    read the predictions of the endpoints it watches, hide a drift or raise a false alarm, and so
    have a retraining begun; not promote what it made, for the gates ask evidence of others.
"""
