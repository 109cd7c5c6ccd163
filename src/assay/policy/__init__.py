"""The policy: what is asked, what is answered, and why.

What lives here
    `engine` (a request in, a decision with every failing gate out), `bundle` (the document that
    policy is: built from a folder of files, checked, named by its digest), `document` (its format),
    `schema` (Cedar's schema, with the facts that assessors declare), `rules` (what the policies say
    about themselves), `vocabulary` (uids and entities as Cedar reads them), `testing` (a table of
    requests and expected decisions), `replay` (an old decision asked again), and `defaults/`, the
    policy that a new workspace starts with.

May import
    Floor 0 and cedarpy; nothing else in assay imports cedarpy.

An attacker who owns it can
    allow anything: with the code, without trace in the policy; with a bundle, only under another
    digest, which every decision names and `assay decision replay` compares.  Whoever controls only
    the request (names, facts, texts) cannot: names are escaped, values are typed by the schema, and
    whatever Cedar cannot read or evaluate is a denial.
"""
