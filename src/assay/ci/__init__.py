"""What a run of continuous integration says about a change, and to whom.

What lives here
    `model` (the report, as data), `comparison` (a metric now and before, with an interval), the
    renderers (`markdown`, `page`, `junit`, `sarif`, `metrics`), `folder` (all of them in one new
    folder), `workflows` (ready workflows for GitHub and GitLab) and `comment` (what the privileged
    half of the GitHub workflow makes of a report that untrusted code wrote).

May import
    Floor 0.

An attacker who owns it can
    tell reviewers that a change passed.  Nothing is promoted for it: gates are evaluated again, by
    the door, from signed statements.
"""
