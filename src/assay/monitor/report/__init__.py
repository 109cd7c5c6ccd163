"""What monitoring found, to look at.

What lives here
    The page (HTML with drawings made on the server), the same as JSON, OpenMetrics and the
    dashboard file for Grafana.

May import
    What `assay.monitor` may, and Jinja for the page.

An attacker who owns it can
    show wrong figures to who looks; not change what is recorded, nor run code in the reader's
    browser under the policy that the page declares.
"""
